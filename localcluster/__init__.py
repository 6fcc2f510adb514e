"""A real Kubernetes for tests and the demo, on machines that have none.

`python3 -m localcluster up` gives a cluster, `down` removes every trace of it. Where Docker works it is a kind
cluster. Elsewhere a control plane is built from the Kubernetes Go modules and run as plain processes with
containerd, in a network namespace of its own: no registry, no Docker, no change to the machine's own firewall
or ports, and several clusters side by side. A cluster of the user's own is used only when it is named.

Standard library only: this runs before anything else is installed.
"""
