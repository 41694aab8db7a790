"""Real Kubernetes-capable nodes on this machine.

The lab builds everything a kubeadm cluster needs from Go modules and Debian packages, serves it from a real apt
repository and a real private registry, and boots nodes (containers with systemd and sshd) on which nothing of
Kubernetes is installed yet. Importing this package is cheap: nothing is looked up, read or started by it.
"""
