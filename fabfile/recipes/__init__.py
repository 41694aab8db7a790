"""What differs between Kubernetes releases and between operating system families."""
