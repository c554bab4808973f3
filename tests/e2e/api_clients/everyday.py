"""What a program with Python's client library does every day. The first argument is a kubeconfig."""
import sys
import threading
import time
from datetime import datetime, timezone

from kubernetes import client, config, dynamic, watch

config.load_kube_config(sys.argv[1])
core, apps, batch = client.CoreV1Api(), client.AppsV1Api(), client.BatchV1Api()
SPACE = "default"


def until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.1)


def refused(code, call):
    try:
        call()
    except client.ApiException as error:
        assert error.status == code, error
        return error.body
    raise AssertionError("it was not refused")


assert client.VersionApi().get_code().major == "1"
assert "apps" in [group.name for group in client.ApisApi().get_api_versions().groups]

# A watch sees what others do, typed.
seen, opened = [], threading.Event()


def look():
    first = core.list_namespaced_config_map(SPACE, label_selector="x=y")
    opened.set()
    stream = watch.Watch()
    for event in stream.stream(core.list_namespaced_config_map, SPACE, label_selector="x=y",
                               resource_version=first.metadata.resource_version, timeout_seconds=60):
        seen.append((event["type"], event["object"].data["a"]))
        if event["type"] == "DELETED":
            stream.stop()


looking = threading.Thread(target=look)
looking.start()
opened.wait()
meta = client.V1ObjectMeta(name="m", labels={"x": "y"})
core.create_namespaced_config_map(SPACE, client.V1ConfigMap(metadata=meta, data={"a": "1"}))
core.patch_namespaced_config_map("m", SPACE, {"data": {"a": "2"}})
held = core.read_namespaced_config_map("m", SPACE)
held.data["a"] = "3"
core.replace_namespaced_config_map("m", SPACE, held)
assert "Conflict" in refused(409, lambda: core.replace_namespaced_config_map("m", SPACE, held))
core.patch_namespaced_config_map("m", SPACE, [{"op": "replace", "path": "/data/a", "value": "4"}])
core.delete_namespaced_config_map("m", SPACE)
looking.join()
assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("MODIFIED", "3"), ("MODIFIED", "4"), ("DELETED", "4")], seen

# Pages.
for number in range(5):
    core.create_namespaced_secret(SPACE, client.V1Secret(metadata=client.V1ObjectMeta(name="s%d" % number)))
page = core.list_namespaced_secret(SPACE, limit=2)
names = [item.metadata.name for item in page.items]
while page.metadata._continue:
    page = core.list_namespaced_secret(SPACE, limit=2, _continue=page.metadata._continue)
    names += [item.metadata.name for item in page.items]
assert names == ["s%d" % number for number in range(5)], names
core.delete_collection_namespaced_secret(SPACE)
assert not core.list_namespaced_secret(SPACE).items

# A workload, its scale, its end.
container = client.V1Container(name="c", image="nginx", resources=client.V1ResourceRequirements(requests={"cpu": "10m"}))
template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels={"app": "web"}), spec=client.V1PodSpec(containers=[container]))
spec = client.V1DeploymentSpec(replicas=2, selector=client.V1LabelSelector(match_labels={"app": "web"}), template=template)
made = apps.create_namespaced_deployment(SPACE, client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec))
assert made.spec.strategy.rolling_update.max_surge == "25%" and made.metadata.creation_timestamp
pods = lambda: core.list_namespaced_pod(SPACE, label_selector="app=web", field_selector="status.phase=Pending").items
until(lambda: len(pods()) == 2)
def scaled():
    scale = apps.read_namespaced_deployment_scale("web", SPACE)
    scale.spec.replicas = 3
    try:
        return apps.replace_namespaced_deployment_scale("web", SPACE, scale)
    except client.ApiException as error:
        # The controller may write the status between the two.
        assert error.status == 409, error
until(scaled)
until(lambda: len(pods()) == 3)
apps.delete_namespaced_deployment("web", SPACE, propagation_policy="Foreground")
job = client.V1JobSpec(template=client.V1PodTemplateSpec(spec=client.V1PodSpec(restart_policy="Never", containers=[container])))
assert batch.create_namespaced_job(SPACE, client.V1Job(metadata=client.V1ObjectMeta(generate_name="j-"), spec=job)).metadata.name.startswith("j-")

# Who am I, what may I, a token, a lease with microseconds.
attributes = client.V1ResourceAttributes(verb="get", resource="pods")
review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
assert client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed
request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=["x"]))
assert core.create_namespaced_service_account_token("default", SPACE, request).status.token.count(".") == 2
lease = client.V1Lease(metadata=client.V1ObjectMeta(name="l"), spec=client.V1LeaseSpec(holder_identity="me", acquire_time=datetime.now(timezone.utc)))
assert client.CoordinationV1Api().create_namespaced_lease(SPACE, lease).spec.acquire_time.microsecond is not None

# A definition, its objects, and the client that learns kinds from discovery.
client.ApiextensionsV1Api().create_custom_resource_definition({
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
    "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
             "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                 "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}})
custom = client.CustomObjectsApi()
widgets = ("example.com", "v1", SPACE, "widgets")


def served():
    try:
        return custom.list_namespaced_custom_object(*widgets) is not None
    except client.ApiException:
        return False


until(served)
custom.create_namespaced_custom_object(*widgets, {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"a": 1}})
custom.patch_namespaced_custom_object(*widgets, "w", {"spec": {"a": 2}})
learned = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="example.com/v1", kind="Widget")
assert learned.get(namespace=SPACE, name="w").spec.a == 2
assert "spec.containers" in refused(422, lambda: core.create_namespaced_pod(SPACE, {"metadata": {"name": "p"}, "spec": {"containers": []}}))
print("done")
