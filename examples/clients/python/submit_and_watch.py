#!/usr/bin/env python3
"""Submits a workflow file to a running Autodidact daemon and follows it to its end.

Everything is made from the .proto files alone: the stubs are generated into a temporary folder at the start.
Exit codes: 0 the workflow is done, 1 it was refused, failed or cancelled, 2 wrong command line, 130 interrupted.
"""

import argparse
import importlib
import importlib.resources
import json
import os
import pathlib
import sys
import tempfile
import time
import uuid

import grpc
from grpc_status import rpc_status
from grpc_tools import protoc

PROTO_FOLDER = pathlib.Path(__file__).resolve().parents[3] / "proto"
# A connection that breaks, or a daemon that restarts, is waited for this many times, a second apart.
RECONNECTIONS = 60
TRANSIENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED)
# Without this the client would wait up to two minutes before it tries a restarted daemon again.
CHANNEL_OPTIONS = [
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
]


def generate_stubs(proto_folder, out):
    """Compiles every .proto file into Python modules under `out`, and imports them."""
    files = sorted(str(path) for path in (proto_folder / "autodidact" / "v1").glob("*.proto"))
    if not files:
        sys.exit(f"no .proto files in {proto_folder}; name their folder with --proto")
    well_known = str(importlib.resources.files("grpc_tools") / "_proto")
    arguments = ["protoc", f"-I{proto_folder}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main(arguments + files) != 0:
        sys.exit("protoc could not compile the .proto files")
    sys.path.insert(0, str(out))
    names = ["workflow_service_pb2", "workflow_service_pb2_grpc", "event_pb2", "errors_pb2"]
    return [importlib.import_module(f"autodidact.v1.{name}") for name in names]


def open_channel(arguments):
    """Connects to the Unix socket, or to a TCP address with its token."""
    if arguments.socket:
        # gRPC would send the socket's path as the HTTP authority, which is no valid one.
        options = CHANNEL_OPTIONS + [("grpc.default_authority", "localhost")]
        return grpc.insecure_channel(f"unix:{os.path.abspath(arguments.socket)}", options=options), ()
    token = os.environ.get("AUTODIDACT_TOKEN", "")
    return grpc.insecure_channel(arguments.address, options=CHANNEL_OPTIONS), (("authorization", f"Bearer {token}"),)


def faults_of(error, errors):
    """Finds a faulty workflow's faults in the details of an error."""
    status = rpc_status.from_call(error)
    found = errors.WorkflowFaults()
    for detail in status.details if status else ():
        if detail.Unpack(found):
            break
    return found.faults


def show(event, events):
    """Describes an event in a line."""
    kind = event.WhichOneof("body")
    if kind == "state":
        state = events.WorkflowState.Name(event.state.state).removeprefix("WORKFLOW_STATE_").lower()
        return f"state {state} {event.state.message}".rstrip()
    if kind == "stage":
        stage = events.Stage.Name(event.stage.stage).removeprefix("STAGE_").lower()
        figures = event.stage
        return f"round {figures.round} {stage}: {figures.done}/{figures.total}, kept {figures.kept}, dropped {figures.dropped}"
    if kind == "training":
        return f"round {event.training.round} step {event.training.step}/{event.training.total_steps}: loss {event.training.loss:.4f}"
    return f"{kind} {str(getattr(event, kind)).strip()}".replace("\n", " ") if kind else "an event of a kind unknown here"


def follow(stub, service, events, name, metadata, as_json):
    """Watches a workflow to its end, over broken connections; returns its last state."""
    state, resume_after, failures = events.WORKFLOW_STATE_UNSPECIFIED, None, 0
    while True:
        request = service.WatchWorkflowRequest(name=name, resume_after=resume_after)
        try:
            for message in stub.Watch(request, metadata=metadata):
                failures = 0
                kind = message.WhichOneof("message")
                if kind == "snapshot":
                    state = message.snapshot.workflow.state
                    if resume_after is None:
                        resume_after = message.snapshot.sequence
                    line = f"{len(message.snapshot.stages)} stages so far"
                elif kind == "event":
                    if message.event.sequence:
                        resume_after = message.event.sequence
                    if message.event.WhichOneof("body") == "state":
                        state = message.event.state.state
                    line = show(message.event, events)
                else:
                    continue
                print(json.dumps({"sequence": resume_after, "message": kind, "text": line}) if as_json else line, flush=True)
            return state
        except grpc.RpcError as error:
            failures += 1
            if error.code() not in TRANSIENT or failures > RECONNECTIONS:
                raise
            time.sleep(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--socket", help="the daemon's Unix socket")
    target.add_argument("--address", help="the daemon's host:port; the token comes from AUTODIDACT_TOKEN")
    parser.add_argument("--proto", type=pathlib.Path, default=PROTO_FOLDER, help="the folder that holds autodidact/v1")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("workflow", type=pathlib.Path, help="the workflow file")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as out:
        service, service_grpc, events, errors = generate_stubs(arguments.proto, out)
        channel, metadata = open_channel(arguments)
        with channel:
            stub = service_grpc.WorkflowServiceStub(channel)
            try:
                request = service.SubmitWorkflowRequest(
                    request_id=str(uuid.uuid4()), yaml=arguments.workflow.read_text(encoding="utf-8")
                )
                workflow = stub.Submit(request, metadata=metadata, timeout=60).workflow
                print(f"submitted {workflow.name}", file=sys.stderr)
                state = follow(stub, service, events, workflow.name, metadata, arguments.json)
            except grpc.RpcError as error:
                print(f"{error.code().name}: {error.details()}", file=sys.stderr)
                for fault in faults_of(error, errors):
                    print(f"  line {fault.line}: {fault.path}: {fault.message}; expected {fault.expected}", file=sys.stderr)
                return 1
    return 0 if state == events.WORKFLOW_STATE_DONE else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
