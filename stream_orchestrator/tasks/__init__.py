"""The task kinds, one file each: what it reads, what it asks the kernel to do, its options, its documentation."""
