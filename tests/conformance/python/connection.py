"""Channels to the two servers, and what tests say again and again."""

import itertools
import os
import time

import grpc

import echo_pb2_grpc
from thermocline.v1 import admin_pb2_grpc
from thermocline.v1 import key_value_pb2_grpc

SECURITY = os.environ["CONFORMANCE_SECURITY"]
SERVER = os.environ["CONFORMANCE_SERVER"]
ECHO = os.environ["CONFORMANCE_ECHO"]

# For what must happen, and as a rule does at once.
PATIENCE_SECONDS = 60

_numbers = itertools.count()


def read_file(variable):
    with open(os.environ[variable], "rb") as file:
        return file.read()


def new_channel(address, options=(), credentials=None, **more):
    """A channel with a connection of its own, with the credentials that the server wants unless some are given."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", 17 << 20),
        ("grpc.max_send_message_length", -1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
        *options,
    ]
    if SECURITY == "plain":
        return grpc.insecure_channel(address, options, **more)
    if credentials is None:
        own = (read_file("CONFORMANCE_KEY"), read_file("CONFORMANCE_CERT")) if SECURITY == "mutual-tls" else ()
        credentials = grpc.ssl_channel_credentials(read_file("CONFORMANCE_CA"), *own)
    return grpc.secure_channel(address, credentials, options, **more)


def key_value(channel):
    return key_value_pb2_grpc.KeyValueStub(channel)


def admin(channel):
    return admin_pb2_grpc.AdminStub(channel)


def echo(channel):
    return echo_pb2_grpc.EchoStub(channel)


def new_key():
    """A key that no other test of this run uses, and no prefix of one that does."""
    return f"python/{os.getpid()}/{next(_numbers)}/".encode()


def restart_server():
    """Has the server stopped and started again; returns when it serves."""
    os.write(3, b"\n")
    if os.read(4, 1) != b"\n":
        raise RuntimeError("the server does not start again")


def until(holds):
    """Waits until holds() is true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise AssertionError("it does not happen")
        time.sleep(0.005)


class Calls:
    """For tests: a channel to each server."""

    @classmethod
    def setUpClass(cls):
        cls.server_channel = new_channel(SERVER)
        cls.echo_channel = new_channel(ECHO)
        cls.key_value = key_value(cls.server_channel)
        cls.admin = admin(cls.server_channel)
        cls.echo = echo(cls.echo_channel)

    @classmethod
    def tearDownClass(cls):
        cls.server_channel.close()
        cls.echo_channel.close()

    def fails(self, call, code):
        """What a call fails with, whose code must be `code`."""
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        self.assertEqual(raised.exception.code(), code, raised.exception.details())
        return raised.exception
