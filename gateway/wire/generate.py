"""Makes src/tables/ from Kafka's own message definitions, which the jar of its Java client carries.

    generate.py JAR            writes src/tables/
    generate.py JAR --check    fails if what is there differs

The definitions themselves stay where they are; what is kept are the facts: names, types, versions, tags, defaults.
"""

import json
import re
import sys
import zipfile
from pathlib import Path

# Kafka's release that the tables are of; the jar must be of it.
RELEASE = "4.4.0"

# What clients send and the gateway reads, rewrites or refuses by an answer of its own, by the file that has it.
# Absent, so unknown here and refused as such: calls between brokers and controllers, delegation tokens (38-41),
# SCRAM users (50, 51), features and voters (57, 64, 80, 81, 94), telemetry (71, 72).
GROUPS = {
    "data": [0, 1, 2, 3, 21, 23, 75],
    "session": [10, 17, 18, 36, 55, 60],
    "groups": [8, 9, 11, 12, 13, 14, 15, 16, 42, 47, 68, 69],
    "transactions": [22, 24, 25, 26, 28, 61, 65, 66],
    "sharing": [76, 77, 78, 79, 88, 89, 90, 91, 92, 93],
    "admin": [19, 20, 29, 30, 31, 32, 33, 34, 35, 37, 43, 44, 45, 46, 48, 49, 74],
}

KINDS = {
    "bool": "Bool", "int8": "I8", "int16": "I16", "uint16": "U16", "int32": "I32", "int64": "I64",
    "float64": "F64", "uuid": "Uuid", "string": "Str", "bytes": "Bytes", "records": "Records",
}
ENTITIES = {
    "topicName": "Topic", "groupId": "Group", "transactionalId": "Transaction", "producerId": "Producer",
    "brokerId": "Broker",
}
MANY = 32767


def span(text):
    """`3+`, `2-5`, `4` or `none` as the first and last version."""
    if text == "none":
        return (1, 0)
    if text.endswith("+"):
        return (int(text[:-1]), MANY)
    first, _, last = text.partition("-")
    return (int(first), int(last or first))


def within(inner, outer):
    return (max(inner[0], outer[0]), min(inner[1], outer[1]))


def words(of, all_of, name):
    """How a row says that something holds for the versions `of`, of the versions `all_of`."""
    since, until = of[0] > all_of[0], of[1] < all_of[1]
    if since and until:
        return f".{name}within({of[0]}, {of[1]})"
    if since:
        return f".{name}since({of[0]})"
    return f".{name}until({of[1]})" if until else ""


class Message:
    def __init__(self, definition, unstable, names):
        self.valid = span(definition["validVersions"])
        # Brokers keep a version that may still change to themselves.
        self.valid = (self.valid[0], self.valid[1] - unstable)
        self.flexible = max(span(definition["flexibleVersions"])[0], self.valid[0])
        if definition["flexibleVersions"] == "none":
            self.flexible = MANY
        self.shared = {s["name"]: s["fields"] for s in definition.get("commonStructs", [])}
        self.names = names
        self.rows = []
        self.fields(definition["fields"], self.valid, 1)

    def fields(self, fields, holder, depth):
        for field in fields:
            versions = within(span(field["versions"]), holder)
            if versions[0] <= versions[1]:
                self.field(field, versions, holder, depth)

    def field(self, field, versions, holder, depth):
        written = field["name"][0].upper() + field["name"][1:]
        self.names.add(written)
        extra = {"flexibleVersions"} & field.keys()
        assert not extra, f"{field['name']}: {extra}"
        row = words(versions, holder, "")
        nullable = within(span(field.get("nullableVersions", "none")), versions)
        if nullable[0] <= nullable[1]:
            row += words(nullable, versions, "nullable_") or ".nullable()"
        if "tag" in field:
            tagged = within(span(field["taggedVersions"]), versions)
            # Otherwise a field would have two places, by version.
            assert tagged == versions, field["name"]
            row += f".tag({field['tag']})"
        row += self.default(field)
        if field.get("ignorable") in (True, "true"):
            row += ".ignorable()"
        entity = ENTITIES.get(field.get("entityType"))
        if entity:
            row += f".entity(Entity::{entity})"
        kind = field["type"]
        listed = kind.startswith("[]")
        kind = kind.removeprefix("[]")
        pad = "    " * depth
        if kind in KINDS:
            text = f"Kind::{KINDS[kind]}"
            if listed:
                text = f"Kind::List(&{text})"
            self.rows.append(f"{pad}f(N::{written}, {text}){row},")
            return
        inside = field.get("fields") or self.shared[kind]
        name = "list" if listed else "inner"
        self.rows.append(f"{pad}{name}(N::{written}, &[")
        self.fields(inside, versions, depth + 1)
        self.rows.append(f"{pad}]){row},")

    @staticmethod
    def default(field):
        value = field.get("default")
        if value is None or str(value) in ("", "0", "false", "False"):
            return ""
        if value == "null":
            return ".default_null()"
        if value == "true":
            return ".default(1)"
        return f".default({int(str(value), 0)})"


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def definitions(jar):
    with zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            if name.startswith("common/message/") and name.endswith(".json"):
                text = re.sub(r"^\s*//.*$", "", archive.read(name).decode(), flags=re.MULTILINE)
                definition = json.loads(text)
                if definition["type"] in ("request", "response"):
                    yield (definition["apiKey"], definition["type"]), definition


def rust(jar):
    """The files of src/tables/, by name."""
    head = f"//! Made by generate.py from the message definitions of Apache Kafka {RELEASE}; not to be edited.\n\n"
    known = dict(definitions(jar))
    names, files, apis = set(), {}, []
    for group, keys in GROUPS.items():
        parts = []
        for key in keys:
            title = known[key, "request"]["name"].removesuffix("Request")
            unstable = known[key, "request"].get("latestVersionUnstable", False)
            both = []
            for direction in ("request", "response"):
                message = Message(known[key, direction], unstable, names)
                constant = f"{snake(title)}_{direction.upper()}"
                both.append((message, f"{group}::{constant}"))
                parts.append(f"pub(super) const {constant}: &[Field] = &[\n" + "\n".join(message.rows) + "\n];\n")
            (request, a), (response, b) = both
            assert request.valid == response.valid and request.flexible == response.flexible, title
            apis.append((key, title, request.valid, request.flexible, a, b))
        uses = [word for word in ("inner", "list") if any(f"{word}(N::" in part for part in parts)]
        entity = "Entity, " if any("Entity::" in part for part in parts) else ""
        use = f"use super::N;\nuse crate::schema::{{{entity}Field, Kind, {', '.join(['f', *uses])}}};\n\n"
        files[f"{group}.rs"] = head + use + "\n".join(parts)

    apis.sort()
    text = head + "use crate::schema::Api;\n\n"
    text += "".join(f"mod {group};\n" for group in sorted([*GROUPS, "names"]))
    text += "\npub use names::Name;\n\nuse Name as N;\n\n"
    text += "/// The APIs of Kafka that this crate knows, by their key.\n"
    text += "#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n#[repr(i16)]\npub enum Key {\n"
    text += "".join(f"    {title} = {key},\n" for key, title, *_ in apis) + "}\n\n"
    text += f"/// The release of Kafka that the tables are of.\npub const RELEASE: &str = \"{RELEASE}\";\n\n"
    text += "/// In the order of their keys.\npub const APIS: &[Api] = &[\n"
    for _, title, valid, flexible, request, response in apis:
        text += f"    Api::of(Key::{title}, ({valid[0]}, {valid[1]}), {flexible}, {request}, {response}),\n"
    files["mod.rs"] = text + "];\n"

    text = head + "/// Every name that a field of a known message has.\n"
    text += "#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\npub enum Name {\n"
    files["names.rs"] = text + "".join(f"    {name},\n" for name in sorted(names)) + "}\n"
    return files


def main():
    jar, check = sys.argv[1], sys.argv[2:] == ["--check"]
    folder = Path(__file__).parent / "src" / "tables"
    with zipfile.ZipFile(jar) as archive:
        release = archive.read("kafka/kafka-version.properties").decode()
    if f"version={RELEASE}" not in release.split():
        sys.exit(f"{jar} is not of Apache Kafka {RELEASE}")
    files = rust(jar)
    stale = [name for name, text in files.items()
             if not (folder / name).exists() or (folder / name).read_text() != text]
    if not check:
        for name in stale:
            (folder / name).write_text(files[name])
    elif stale:
        sys.exit(f"not what generate.py makes: {', '.join(stale)}")


if __name__ == "__main__":
    main()
