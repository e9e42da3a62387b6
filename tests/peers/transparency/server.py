"""Servers of Python's standard library: `server.py KIND HOST PORT`; KIND is 1.0 or 1.1."""

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/" + sys.argv[1]

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        fields = sorted([name.lower(), value] for name, value in self.headers.items() if name.lower() != "connection")
        told = json.dumps([self.command, self.path, fields, len(body), hashlib.sha1(body).hexdigest()]).encode()
        if self.path == "/no-length":
            self.close_connection = True
            self.send_response(200)
            self.end_headers()
            self.wfile.write(told)
            return
        self.send_response(418 if self.path == "/teapot" else 200)
        self.send_header("Content-Length", str(len(told)))
        self.send_header("X-App", "python")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(told)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer

    def log_message(self, *_):
        pass


ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer((sys.argv[2], int(sys.argv[3])), Handler).serve_forever()
