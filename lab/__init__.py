"""Real nodes for Kubernetes on this machine.

The lab builds everything a kubeadm cluster needs from Go modules and Debian packages, serves it from a real apt
repository and a real private registry, and boots nodes (containers with systemd and sshd) without Kubernetes.
Importing this package is cheap: it looks nothing up, reads nothing and starts nothing.
"""
