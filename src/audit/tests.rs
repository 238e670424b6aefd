//! The formats against their published vectors, a naive reading of the RFC, and other implementations.
