"""What a person waits for, beside `ssh true`, Ansible and pyinfra: whole processes, measured in turn, on the lab's nodes.

    make bench                                # all of it; writes docs/measured.md, its Korean page, README's figures and the plot
    python -m benchmarks --quick              # one round of each; writes nothing
    python -m benchmarks --only unchanged     # one part (see --help)

Absolute times are this machine's.  What counts are the ratios of one run: nothing is compared across runs.
"""
