"""Machines that boot from nothing: qemu, its images, and the one way out that a machine has."""
