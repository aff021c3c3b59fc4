"""Where credentials for registries are kept: the operating system's keychain, and Docker's own places."""
