"""A Table Schema as one SQL query, for DuckDB on one thread: every type, every constraint, and the distinct keys.

    duckdb_check.py FILE.csv FILE.schema.json     prints {"rows": ..., "errors": ...}
"""

import json
import sys

import duckdb


def literal(text):
    return "'" + str(text).replace("'", "''") + "'"


def typed(field, cell):
    """The cell as its type, NULL when it is not of it; and what a bound is written as."""
    kind, form = field["type"], field.get("format", "default")
    if kind == "date":
        form = "%Y-%m-%d" if form == "default" else form
        return f"try_strptime({cell}, {literal(form)})", lambda bound: f"strptime({literal(bound)}, {literal(form)})"
    if kind == "integer":
        return f"CASE WHEN regexp_full_match({cell}, '[+-]?[0-9]+') THEN try_cast({cell} AS HUGEINT) END", str
    if kind == "number":
        return f"try_cast({cell} AS DOUBLE)", str
    if kind == "boolean":
        values = field.get("trueValues", ["true", "True", "TRUE", "1"]) + field.get("falseValues", ["false", "False", "FALSE", "0"])
        return f"CASE WHEN {cell} IN ({', '.join(map(literal, values))}) THEN true END", str
    return cell, literal


def faults(field):
    """Conditions that hold when the cell is wrong."""
    cell = '"' + field["name"].replace('"', '""') + '"'
    rules = field.get("constraints", {})
    value, bound = typed(field, cell)
    found = []
    if rules.get("required"):
        found.append(f"{cell} IS NULL")
    if field["type"] != "string":
        found.append(f"({cell} IS NOT NULL AND {value} IS NULL)")
    for name, operator in (("minimum", "<"), ("maximum", ">"), ("exclusiveMinimum", "<="), ("exclusiveMaximum", ">=")):
        if name in rules:
            found.append(f"{value} {operator} {bound(rules[name])}")
    if "enum" in rules:
        found.append(f"{cell} NOT IN ({', '.join(map(literal, rules['enum']))})")
    if "pattern" in rules:
        found.append(f"NOT regexp_full_match({cell}, {literal(rules['pattern'])})")
    if "minLength" in rules:
        found.append(f"length({cell}) < {rules['minLength']}")
    if "maxLength" in rules:
        found.append(f"length({cell}) > {rules['maxLength']}")
    return found


def main():
    path, schema = sys.argv[1], json.load(open(sys.argv[2]))
    names = [field["name"] for field in schema["fields"]]
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    missing = ", ".join(literal(value) for value in schema.get("missingValues", [""]))
    source = (f"read_csv({literal(path)}, header = true, auto_detect = false, delim = ',', quote = '\"', escape = '\"', "
              f"columns = {{{columns}}}, nullstr = [{missing}])")
    conditions = [condition for field in schema["fields"] for condition in faults(field)]
    errors = " + ".join(f"count(*) FILTER (WHERE {condition})" for condition in conditions)
    key = schema["primaryKey"]
    key = ", ".join('"' + name + '"' for name in ([key] if isinstance(key, str) else key))
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    rows, wrong, keys = connection.execute(f"SELECT count(*), {errors}, count(DISTINCT ({key})) FROM {source}").fetchone()
    print(json.dumps({"rows": rows, "errors": wrong + rows - keys}))


if __name__ == "__main__":
    main()
