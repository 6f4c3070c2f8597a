"""Makes of requests that a schema allows ones that the daemon can take: a schema knows neither the names of the
routes that are served, nor the ETag of now, nor that no two routes, labels or choices may share a name, nor that a
structure must hold a text. Requests that are meant to be wrong stay as they are."""

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


def has_text(value):
    """Letters of Latin: others may be none that the model knows."""
    if isinstance(value, str):
        return any(char.isascii() and char.isalnum() for char in value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(has_text(item) for item in items)


def readable(value):
    """The same with letters in every text."""
    if isinstance(value, str):
        return value if has_text(value) else f"{value} a"
    if isinstance(value, list):
        return [readable(item) for item in value]
    return {key: readable(item) for key, item in value.items()} if isinstance(value, dict) else value


def items(value):
    """The objects of a list. A kind of question that has no such field takes anything there."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def answerable(question):
    """A question with all that it needs: texts that the model can read, and different options."""
    if not isinstance(question, dict):
        return
    for number, choice in enumerate(items(question.get("choices"))):
        choice.update(value=f"option {number}")
        described(choice)
    for level in items(question.get("levels")):
        level.update(label=readable(level.get("label")))
        described(level)
    criteria = question.get("criteria")
    if isinstance(criteria, list):
        question["criteria"] = [level if has_text(level) else f"level {n}" for n, level in enumerate(criteria)]
    elif isinstance(criteria, dict):
        names = criteria if question.get("type") == "noul" else [f"option {n}" for n in range(len(criteria))]
        question["criteria"] = {
            name: text if has_text(text) else None for name, text in zip(names, criteria.values())
        }
    if not has_text(question.get("instructions")):
        question["instructions"] = "Is this so?"
    for part in question["instructions"] if isinstance(question["instructions"], list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            part["text"] = readable(part["text"])


def described(item):
    """Its description can be read, if it has one."""
    if isinstance(item.get("description"), str):
        item["description"] = readable(item["description"])


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
    for field in ("text", "texts", "input", "inputs", "messages"):
        if field in case.body:
            case.body[field] = readable(case.body[field])
    if case.operation.path in ("/v1/systemone", "/v1/decisions"):
        field = "state" if case.operation.path == "/v1/systemone" else "input"
        if not has_text(case.body.get(field)):
            case.body[field] = "a text"
        questions = case.body.get("questions")
        for question in questions.values() if isinstance(questions, dict) else questions or ():
            answerable(question)
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
            for item in case.body[field]:
                if field == "labels" and isinstance(item, dict):
                    described(item)
                    if "utterances" in item:
                        item["utterances"] = readable(item["utterances"])
