import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from obol.errors import UsageError
from obol.rendering.kubernetes import read
from obol.rendering.podman import (
    DIGEST_LABEL,
    HttpCheck,
    Played,
    PlayedPod,
    PodmanStack,
    Port,
    images_of,
    ports_of,
    render,
)
from obol.workloads.sources import packaged

GOLDEN = Path(__file__).parents[2] / "golden"
FOLDER = "/home/me/.config/obol/podman"

APP = """
kind: Deployment
metadata: {name: app, namespace: web}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: app}}
    spec:
      initContainers:
        - {name: prepare, image: busybox, resources: {requests: {cpu: 1}, limits: {cpu: 2}}}
      containers:
        - name: app
          image: quay.io/me/app:1
          imagePullPolicy: Always
          args: ["--db=db.web.svc:80", "--far=db.other.svc:80", "--own=xdb.web.svc", "--plain=db.web.svc.cluster.local"]
          livenessProbe: {httpGet: {path: /live, port: 1}}
          ports:
            - {name: http, containerPort: 8080, hostPort: 80}
            - {name: dns, containerPort: 53, protocol: UDP, hostPort: 53}
          env:
            - {name: A, value: plain}
            - {name: B, valueFrom: {secretKeyRef: {name: keys, key: b}}}
            - {name: C, valueFrom: {configMapKeyRef: {name: words, key: c}}}
            - {name: D, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
          envFrom: [{secretRef: {name: more}}, {configMapRef: {name: absent}}]
          volumeMounts:
            - {name: data, mountPath: /data}
            - {name: claim, mountPath: /claim}
            - {name: words, mountPath: /words}
            - {name: words, mountPath: /one, subPath: renamed.txt}
            - {name: data, mountPath: /part, subPath: part}
            - {name: nowhere, mountPath: /x}
            - {name: lost, mountPath: /lost}
        - {name: helper, image: quay.io/me/app:1, volumeMounts: [{name: data, mountPath: /data}]}
      volumes:
        - {name: data, emptyDir: {medium: Memory}}
        - {name: claim, persistentVolumeClaim: {claimName: disk}}
        - {name: lost, persistentVolumeClaim: {claimName: lost}}
        - {name: words, configMap: {name: words, items: [{key: c, path: renamed.txt}]}}
        - {name: unused, emptyDir: {}}
---
{kind: ConfigMap, metadata: {name: words, namespace: web}, data: {c: see db.web.svc}}
---
{kind: Secret, metadata: {name: keys, namespace: web}, stringData: {b: hidden}}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: disk, namespace: web}, spec: {}}
---
kind: Pod
metadata: {name: db, namespace: web, labels: {app: db}}
spec: {containers: [{name: db, image: db, ports: [{name: sql, containerPort: 5432}]}]}
---
{kind: Service, metadata: {name: db, namespace: web}, spec: {selector: {app: db}, ports: [{port: 80, targetPort: sql}]}}
---
{kind: Service, metadata: {name: lonely, namespace: web}, spec: {selector: {app: nobody}}}
---
{kind: Deployment, metadata: {name: idle}, spec: {replicas: 0, template: {spec: {containers: []}}}}
---
{kind: CronJob, metadata: {name: nightly}}
"""


def around(**changed: Any) -> PodmanStack:
    """Where a stack is rendered for, but for what is changed."""
    ports = {Port("litellm", 4000): 4000, Port("prometheus", 9090): 9090, Port("app", 8080): 41234}
    values: dict[str, Any] = {
        "stack_id": "brave-otter",
        "folder": FOLDER,
        "ports": ports,
        "secrets": {("llm", "litellm-keys"): {"master-key": "sk-test"}},
        "seal": "sk-test",
        "caches": ("10.89.1.1:54100",),
    }
    return PodmanStack(**{**values, **changed})


def own(**changed: Any) -> Played:
    """The stack's own manifests."""
    return render(read((manifest.name, manifest.text) for manifest in packaged()), around(**changed))


def app(text: str = APP) -> PlayedPod:
    """The workload that uses everything."""
    return render(read([("app.yaml", text)]), around()).pods[0]


def documents(pod: PlayedPod) -> dict[str, Any]:
    """What it consists of, by kind and name."""
    return {f"{one['kind']} {one['metadata']['name']}": one for one in yaml.safe_load_all(pod.text)}


def spec(pod: PlayedPod) -> Any:
    """The pod's own document."""
    return documents(pod)[f"Pod {pod.name}"]["spec"]


@pytest.mark.parametrize("workload", ["litellm", "prometheus"])
def test_own_manifests(workload: str) -> None:
    """The stack's own workloads come out as reviewed."""
    (pod,) = (pod for pod in own().pods if pod.workload == workload)

    assert pod.text == (GOLDEN / f"podman-{workload}.yaml").read_text()


def test_own_manifests_beside_the_text() -> None:
    """What is to be done besides playing is told: ports, checks, files, secrets; nothing is left out."""
    played = own()
    litellm, prometheus = played.pods

    assert litellm.name == "obol-stack-brave-otter-litellm-pod"
    assert litellm.check == HttpCheck(4000, "/health/readiness")
    assert litellm.ports == {4000: 4000}
    assert litellm.containers == ("obol-stack-brave-otter-litellm-pod-litellm",)
    (file,) = litellm.files
    assert file.path == f"{FOLDER}/litellm/config-config-yaml"
    assert "master_key: os.environ/LITELLM_MASTER_KEY" in file.text
    assert litellm.volumes == ()
    assert prometheus.check == HttpCheck(9090, "/-/ready")
    assert prometheus.volumes == ("obol-stack-brave-otter.monitoring.prometheus-config",)
    (secret,) = played.secrets
    assert secret.name == "obol-stack-brave-otter.llm.litellm-keys"
    assert json.loads(secret.payload) == {"master-key": base64.b64encode(b"sk-test").decode()}
    assert played.left_out == ()


def test_no_secret_in_text() -> None:
    """Neither the text that is played nor what might be printed has a secret in it."""
    played = own()

    shown = repr(played) + repr(around()) + "".join(pod.text for pod in played.pods)

    assert "sk-test" not in shown
    assert base64.b64encode(b"sk-test").decode() not in shown


def test_without_caches_prometheus_looks_for_none() -> None:
    """Where the caches are not reachable from a pod, the list of their addresses stays empty."""
    prometheus = own(caches=()).pods[1]

    (config_map,) = (one for one in documents(prometheus).values() if one["kind"] == "ConfigMap")
    assert json.loads(config_map["data"]["caches.json"]) == []


def test_containers() -> None:
    """Images get their full names and are pulled when missing; probes and requests are left out, limits are not."""
    shaped = spec(app())

    (prepare,), (main, helper) = shaped["initContainers"], shaped["containers"]
    assert [one["image"] for one in (prepare, main, helper)] == [
        "docker.io/library/busybox:latest",
        "quay.io/me/app:1",
        "quay.io/me/app:1",
    ]
    assert {one["imagePullPolicy"] for one in (prepare, main, helper)} == {"IfNotPresent"}
    assert prepare["resources"] == {"limits": {"cpu": 2}}
    assert "livenessProbe" not in main
    assert app().images == ("docker.io/library/busybox:latest", "quay.io/me/app:1")
    assert len(app().containers) == 2
    assert app().check is None
    assert shaped["hostname"] == "app"


def test_ports() -> None:
    """TCP ports are published on loopback, on the port that was chosen; nothing else is published."""
    assert ports_of(read([("app.yaml", APP)])) == (Port("app", 8080), Port("db", 5432))
    assert spec(app())["containers"][0]["ports"] == [
        {"name": "http", "containerPort": 8080, "hostPort": 41234, "hostIP": "127.0.0.1"},
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
    ]


def test_names_are_scoped() -> None:
    """Secrets, ConfigMaps, claims and empty directories carry the stack's id, the last also the workload's name."""
    pod, shaped = app(), spec(app())

    variables = shaped["containers"][0]["env"]
    assert variables[1]["valueFrom"]["secretKeyRef"]["name"] == "obol-stack-brave-otter.web.keys"
    assert variables[2]["valueFrom"]["configMapKeyRef"]["name"] == "obol-stack-brave-otter.web.words"
    assert shaped["containers"][0]["envFrom"][0]["secretRef"]["name"] == "obol-stack-brave-otter.web.more"
    volumes = {volume["name"]: volume for volume in shaped["volumes"]}
    assert volumes["obol-stack-brave-otter.app.data"]["emptyDir"] == {}
    assert volumes["claim"]["persistentVolumeClaim"]["claimName"] == "obol-stack-brave-otter.web.disk"
    assert set(documents(pod)) == {
        "ConfigMap obol-stack-brave-otter.web.words",
        "PersistentVolumeClaim obol-stack-brave-otter.web.disk",
        "Pod obol-stack-brave-otter-app-pod",
    }
    assert "unused" not in volumes


def test_single_files() -> None:
    """A file of a ConfigMap becomes a file of this machine; other parts of volumes are told of."""
    played = render(read([("app.yaml", APP)]), around())
    mounts = {mount["mountPath"]: mount for mount in spec(played.pods[0])["containers"][0]["volumeMounts"]}

    (file,) = played.pods[0].files
    assert file.text == "see obol-stack-brave-otter-db-pod"
    assert mounts["/one"] == {"name": "words-renamed-txt", "mountPath": "/one"}
    assert mounts["/words"]["name"] == "words"
    volumes = {volume["name"]: volume for volume in spec(played.pods[0])["volumes"]}
    assert volumes["words-renamed-txt"]["hostPath"] == {"path": file.path, "type": "File"}
    assert "the subPath part of volume data in app" in played.left_out


def test_services_become_pods() -> None:
    """Full names of services lead to their pods, with the pod's port; other names are left alone."""
    assert spec(app())["containers"][0]["args"] == [
        "--db=obol-stack-brave-otter-db-pod:5432",
        "--far=db.other.svc:80",
        "--own=xdb.web.svc",
        "--plain=obol-stack-brave-otter-db-pod",
    ]


def test_unknown_port_of_a_service_stays() -> None:
    """A port that no container has by that name is kept as it is."""
    text = APP.replace("targetPort: sql", "targetPort: nothing")

    assert spec(app(text))["containers"][0]["args"][0] == "--db=obol-stack-brave-otter-db-pod:80"


def test_what_is_left_out_is_told() -> None:
    """Unknown kinds, workloads without replicas and second replicas are named."""
    left_out = render(read([("app.yaml", APP)]), around()).left_out

    assert left_out[:3] == ("CronJob nightly", "idle: it has no replicas", "replicas of app but one")


def test_two_of_one_name() -> None:
    """Two workloads of one name would be one pod, so they are refused."""
    text = APP.replace("name: db, namespace: web, labels", "name: app, namespace: other, labels")

    with pytest.raises(UsageError, match="two workloads are called app"):
        app(text)


def test_bad_image() -> None:
    """What is not a reference is refused with the name of the workload."""
    with pytest.raises(UsageError, match="an image of app"):
        app(APP.replace("quay.io/me/app:1", "'a b'"))


@pytest.mark.parametrize(
    ("before", "after"),
    [("hidden", "other"), ("see db", "look at db"), ("me/app:1", "me/app:2"), ("medium: Memory", "")],
)
def test_digest(before: str, after: str) -> None:
    """The digest changes with all that the pod is made of, secrets and files included, and is the pod's label."""
    pod, changed = app(), app(APP.replace(before, after))

    labels = documents(pod)[f"Pod {pod.name}"]["metadata"]["labels"]
    ours = {"obol.cluster-id": "brave-otter", "obol.workload": "app", DIGEST_LABEL: pod.digest}
    assert labels == {"app": "app", **ours}
    assert (pod.digest == changed.digest) == (before == "medium: Memory")


def test_digest_is_sealed() -> None:
    """Without the key nobody can tell which secret a digest was made of."""
    assert own().pods[0].digest != own(seal="other").pods[0].digest


def test_images_of_what_was_rendered() -> None:
    """Images are found again in what was written before."""
    assert images_of(app().text) == {"docker.io/library/busybox:latest", "quay.io/me/app:1"}


def test_secret_volumes() -> None:
    """A volume with a Secret names the one of this stack."""
    text = "{kind: Pod, metadata: {name: p}, spec: {volumes: [{name: s, secret: {secretName: keys}}], containers: [C]}}"
    container = "{name: c, image: c, volumeMounts: [{name: s, mountPath: /s}]}"

    (volume,) = spec(app(text.replace("C]", container + "]")))["volumes"]

    assert volume["secret"]["secretName"] == "obol-stack-brave-otter.default.keys"
