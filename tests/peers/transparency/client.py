"""What Python's http.client, urllib and smtplib see: `client.py SCENARIO HOST:PORT`."""

import http.client
import json
import socket
import sys
import urllib.error
import urllib.request

scenario, address = sys.argv[1:]
base = "http://" + address
HOP = {"connection", "keep-alive", "date", "server"}


def told(response):
    body = response.read()
    fields = sorted((name.lower(), value) for name, value in response.getheaders() if name.lower() not in HOP)
    print(response.version, response.status, response.reason, fields, body.decode("latin-1") if len(body) < 2000 else len(body))


def one(method, path, body=None, headers={}, **more):
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request(method, path, body, headers, **more)
    told(connection.getresponse())


def keep_alive():
    connection = http.client.HTTPConnection(address, timeout=20)
    for at in range(5):
        connection.request("POST", f"/{at}", b"x" * at)
        told(connection.getresponse())


def generator():
    yield b"one"
    yield b"two"


def urllib_get():
    with urllib.request.urlopen(base + "/echo") as response:
        told(response)


def urllib_error():
    try:
        urllib.request.urlopen(base + "/teapot")
    except urllib.error.HTTPError as error:
        print(error.code, error.reason)


def nats():
    with socket.create_connection(address.rsplit(":", 1), timeout=20) as connection:
        lines = connection.makefile("rwb")
        info = json.loads(lines.readline().removeprefix(b"INFO "))
        print(info["proto"], info["max_payload"], info["headers"])
        for command, answers in (
            (b'CONNECT {"verbose":false,"echo":true}\r\nPING\r\n', 1),
            (b"SUB a.* 1\r\nPUB a.b 5\r\nhello\r\n", 2),
            (b"PING\r\n", 1),
            (b"FROB\r\n", 1),
        ):
            lines.write(command)
            lines.flush()
            print([lines.readline() for _ in range(answers)])
        print(lines.read())


def broken():
    try:
        one("GET", "/break")
    except Exception as error:
        print(type(error).__name__, error)


{
    "get": lambda: one("GET", "/echo"),
    "head": lambda: one("HEAD", "/echo"),
    "post": lambda: one("POST", "/echo", b"a=b&c=d", {"Content-Type": "application/x-www-form-urlencoded"}),
    "patch": lambda: one("PATCH", "/echo", b"{}"),
    "delete": lambda: one("DELETE", "/echo"),
    "large": lambda: one("PUT", "/echo", b"q" * 1_000_000),
    "no-length": lambda: one("GET", "/no-length"),
    "chunked": lambda: one("POST", "/echo", generator(), encode_chunked=True),
    "keep-alive": keep_alive,
    "urllib": urllib_get,
    "urllib-error": urllib_error,
    "broken": broken,
    "nats": nats,
}[scenario]()
