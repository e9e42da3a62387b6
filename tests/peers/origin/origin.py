"""A WSGI application that prints each request as gunicorn read it: one line of JSON."""

import json
import sys


def tell(environ, body, whole):
    # Bytes are written as Latin-1.
    told = {
        "method": environ["REQUEST_METHOD"],
        "target": environ["RAW_URI"],
        "host": environ.get("HTTP_HOST", ""),
        "body": body,
        "whole": whole,
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def app(environ, start_response):
    if "/early" in environ["RAW_URI"]:
        # The body is left to gunicorn.
        tell(environ, None, True)
    else:
        body, whole = b"", True
        try:
            while part := environ["wsgi.input"].read(65536):
                body += part
        except Exception:
            whole = False
        # A body that ends too soon is no error to gunicorn.
        length = environ.get("CONTENT_LENGTH") or ""
        if length.isdigit() and "HTTP_TRANSFER_ENCODING" not in environ:
            whole = whole and len(body) == int(length)
        tell(environ, body.decode("latin1"), whole)
    answer = environ["RAW_URI"].encode("latin1") + b" "
    start_response("200 OK", [("content-length", str(len(answer))), ("content-type", "text/plain")])
    return [answer]
