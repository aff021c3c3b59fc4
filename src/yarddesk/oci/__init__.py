"""The vocabulary of the OCI specifications: values and parsers, no I/O."""
