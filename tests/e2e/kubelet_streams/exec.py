"""Python's client library runs a command in a pod: over a WebSocket, with v4.channel.k8s.io as its protocol."""
import sys

from kubernetes import client, config
from kubernetes.stream import stream

config.load_kube_config(sys.argv[1])
core = client.CoreV1Api()
connect = core.connect_get_namespaced_pod_exec

script = "echo out; echo err >&2; exit 7"
session = stream(connect, "shell", "default", command=["sh", "-c", script], stdin=False, stdout=True, stderr=True,
                 tty=False, _preload_content=False)
session.run_forever(timeout=20)
assert session.read_stdout() == "out\n", "its output"
assert session.read_stderr() == "err\n", "its other output"
assert session.returncode == 7, session.returncode

session = stream(connect, "shell", "default", command=["head", "-n", "1"], stdin=True, stdout=True, stderr=True,
                 tty=False, _preload_content=False)
session.write_stdin("typed\n")
session.run_forever(timeout=20)
assert session.read_stdout() == "typed\n", "what was typed"
assert session.returncode == 0, session.returncode

whole = stream(connect, "shell", "default", command=["cat", "/www/index.html"], stdin=False, stdout=True, stderr=True,
               tty=False)
assert whole == "page\n", whole
print("done")
