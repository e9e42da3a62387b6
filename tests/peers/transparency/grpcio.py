"""gRPC by grpcio: `grpcio.py serve HOST:PORT`, and `grpcio.py call HOST:PORT`, which prints what calls of all kinds see."""

import sys
import time
from concurrent import futures

import grpc

what, address = sys.argv[1:]


def unary(request, context):
    context.send_initial_metadata((("x-first", "1"), ("x-bytes-bin", b"\x00\xff")))
    seen = {key: value for key, value in context.invocation_metadata() if key.startswith("x-")}
    context.set_trailing_metadata((("x-last", "2"), ("x-seen", str(sorted(seen.items())))))
    return request


def stream(request, context):
    for at in range(3):
        yield request + str(at).encode()
        time.sleep(0.03)


def chat(requests, context):
    for request in requests:
        yield request.upper()


def collect(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def fail(request, context):
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much: \u00fc %41")


def fail_later(request, context):
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "half")


def slow(request, context):
    while context.is_active():
        time.sleep(0.02)
    return b""


def serve():
    of = grpc
    handlers = {
        "Unary": of.unary_unary_rpc_method_handler(unary),
        "Stream": of.unary_stream_rpc_method_handler(stream),
        "Chat": of.stream_stream_rpc_method_handler(chat),
        "Collect": of.stream_unary_rpc_method_handler(collect),
        "Fail": of.unary_unary_rpc_method_handler(fail),
        "FailLater": of.unary_stream_rpc_method_handler(fail_later),
        "Slow": of.unary_unary_rpc_method_handler(slow),
        "Large": of.unary_unary_rpc_method_handler(lambda request, context: b"x" * 3_000_000),
        "TooLarge": of.unary_unary_rpc_method_handler(lambda request, context: b"x" * 5_000_000),
    }
    server = grpc.server(futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


def tell(name, ask):
    try:
        print(name, ask())
    except grpc.RpcError as error:
        print(name, error.code().name, error.details())


def whole(answer_and_call):
    answer, call = answer_and_call
    fields = [sorted((key, value) for key, value in fields if key.startswith("x-")) for fields in (call.initial_metadata(), call.trailing_metadata())]
    return answer, fields, call.code().name


def cancelled(channel):
    call = channel.unary_unary("/test.Test/Slow").future(b"")
    time.sleep(0.2)
    call.cancel()
    return call.code().name


def many(channel):
    calls = [channel.unary_unary("/test.Test/Unary").future(str(at).encode()) for at in range(200)]
    return sum(int(call.result()) for call in calls)


def call():
    with grpc.insecure_channel(address) as channel:
        method = "/test.Test/"
        large = b"y" * 1_000_000
        fields = (("x-a", "1"), ("x-a", "2"), ("x-b-bin", b"\x01\x02"))
        tell("unary", lambda: whole(channel.unary_unary(method + "Unary").with_call(b"hello", metadata=fields)))
        tell("large request", lambda: len(channel.unary_unary(method + "Unary")(large)))
        tell("stream", lambda: list(channel.unary_stream(method + "Stream")(b"a")))
        tell("chat", lambda: list(channel.stream_stream(method + "Chat")(iter([b"a", b"b", b"c"]))))
        tell("collect", lambda: channel.stream_unary(method + "Collect")(iter([large] * 3)))
        tell("fail", lambda: channel.unary_unary(method + "Fail")(b""))
        tell("fail later", lambda: list(channel.unary_stream(method + "FailLater")(b"")))
        tell("deadline", lambda: channel.unary_unary(method + "Slow")(b"", timeout=0.3))
        tell("cancel", lambda: cancelled(channel))
        tell("large", lambda: len(channel.unary_unary(method + "Large")(b"")))
        tell("too large", lambda: len(channel.unary_unary(method + "TooLarge")(b"")))
        tell("unknown", lambda: channel.unary_unary(method + "Nothing")(b""))
        tell("many", lambda: many(channel))


serve() if what == "serve" else call()
