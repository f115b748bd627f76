"""A source of pages, as an API with cursors would be."""

ROWS = {"seven": list(range(7)), "none": []}


def page_of(source, cursor):
    rows = ROWS[source][cursor : cursor + 3]
    after = cursor + 3
    return {"rows": rows, "next": after if after < len(ROWS[source]) else None}
