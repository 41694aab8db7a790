"""What differs by Kubernetes release and by operating system family."""
