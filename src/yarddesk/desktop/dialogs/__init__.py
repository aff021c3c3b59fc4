"""Questions and forms; each is opened with `open()` and answers by a signal."""
