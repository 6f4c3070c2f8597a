"""Makes of requests that a schema allows ones that the daemon can take: a schema knows neither the names of the
routes that are served, nor the ETag of now, nor that no two routes or labels may share a name. Requests that are
meant to be wrong stay as they are."""

import os

import requests
import schemathesis
from schemathesis import GenerationMode


def served(case):
    url = f"{case.operation.base_url.rstrip('/')}/routes"
    headers = {"Authorization": f"Bearer {os.environ['CONTRACT_KEY']}"}
    return requests.get(url, headers=headers, timeout=60)


def numbered(items):
    """Different names, and the same ones when a request is sent again."""
    for number, item in enumerate(items):
        if isinstance(item, dict) and isinstance(item.get("name"), str):
            item["name"] = f"{number}.{item['name'].strip().split('.')[-1]}"[:128]
        elif isinstance(item, str):
            items[number] = f"{number}.{item.strip().split('.')[-1]}"[:128]


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if "If-Match" in (case.headers or {}):
        case.headers["If-Match"] = served(case).headers["ETag"]
    if not isinstance(case.body, dict):
        return
    if case.operation.path == "/routes/{name}":
        case.body.pop("name", None)
    if case.body.get("method") == "head":
        # Wants enough utterances to be trained on.
        case.body["method"] = "auto"
    # A conversation in which the user says nothing is no text.
    conversations = []
    if case.operation.path == "/classify":
        conversations = [case.body.get("messages")]
    elif case.operation.path == "/classify/batch":
        conversations = case.body.get("messages") or []
    elif case.operation.path == "/v1/decisions":
        conversations = [case.body.get("input")]
    for conversation in conversations:
        if isinstance(conversation, list):
            conversation[-1] = {"role": "user", "content": "my card was charged twice"}
    for field in ("labels", "routes"):
        if not isinstance(case.body.get(field), list):
            continue
        if field == "routes" and case.operation.path.startswith("/classify"):
            names = [route["name"] for route in served(case).json()["routes"]]
            case.body["routes"] = names[: len(case.body["routes"])]
        else:
            numbered(case.body[field])
