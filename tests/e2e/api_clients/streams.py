"""Commands and ports of the pod `shell` with Python's client library. The first argument is a kubeconfig."""
import sys

from kubernetes import client, config
from kubernetes.stream import portforward, stream

config.load_kube_config(sys.argv[1])
core = client.CoreV1Api()
execute = core.connect_get_namespaced_pod_exec


def ran(script, **more):
    session = stream(execute, "shell", "default", command=["sh", "-c", script],
                     stdout=True, stderr=True, _preload_content=False, **more)
    return session


for turn in range(20):
    for code in (0, 7):
        session = ran(f"echo out; echo err >&2; exit {code}")
        session.run_forever(timeout=60)
        assert not session.is_open(), "it did not end"
        assert session.read_stdout() == "out\n", turn
        assert session.read_stderr().startswith("err\n"), turn
        assert session.returncode == code, (turn, code, session.returncode)

# All of it, at once, as most programs ask.
assert stream(execute, "shell", "default", command=["seq", "1", "5000"], stdout=True, stderr=True) == \
    "".join(f"{number}\n" for number in range(1, 5001))

# What is said comes back, line by line, and the session goes on.
session = ran("while read line; do echo got $line; done; exit 4", stdin=True)
for word in ("one", "two", "three"):
    session.write_stdin(word + "\n")
    assert session.readline_stdout(timeout=60) == "got " + word
session.close()

# A page over a forwarded port.
ports = portforward(core.connect_get_namespaced_pod_portforward, "shell", "default", ports="8080")
socket = ports.socket(8080)
socket.settimeout(60)
socket.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
page = b""
while not page.endswith(b"page\n"):
    piece = socket.recv(4096)
    assert piece, page
    page += piece
assert ports.error(8080) is None, ports.error(8080)
print("done")
