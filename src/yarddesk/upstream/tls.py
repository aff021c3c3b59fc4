"""How an upstream's certificate is checked: by the system's trust store, and the settings' own certificates beside it."""

import ssl

import truststore

from yarddesk.settings.model import TlsSettings


def create_context(tls: TlsSettings) -> ssl.SSLContext:
    """Reads certificates from disk: call it in a thread. Raises OSError (ssl.SSLError is one) for a `ca_file` that can't be read."""
    if not tls.verify:
        unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unchecked.check_hostname = False
        unchecked.verify_mode = ssl.CERT_NONE
        return unchecked
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca_file:
        context.load_verify_locations(cafile=tls.ca_file)
    return context
