//! Partition and checkpoint files: bytes to galaxies and tensors, and the other way
