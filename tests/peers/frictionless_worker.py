"""What frictionless says of each case, a line of JSON each; runs in the environment that has it, in tests/corpora."""

import json

from frictionless import Resource, Schema, system, validate


def judge(case):
    with system.use_context(trusted=True):
        report = validate(Resource(path=case["file"], schema=Schema.from_descriptor(case["schema"])))
    errors = []
    for task in report.tasks:
        for error in task.errors:
            errors.append([error.type, getattr(error, "row_number", None), getattr(error, "field_name", None)])
    for error in report.errors:
        errors.append([error.type, None, None])
    return {"id": case["id"], "valid": report.valid, "errors": errors}


if __name__ == "__main__":
    # frictionless may start processes of its own, which read this file again.
    for case in json.load(open("cases.json")):
        print(json.dumps(judge(case)), flush=True)
