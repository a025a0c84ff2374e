"""OpenAPI 3.1 of the routes: schemas by name, and the document that the table of routes makes of them."""
from linear.service.challenger import POLICIES
from linear.service.events import LONGEST_ID, MOST_EVENTS

_ALWAYS = (400, 401, 403, 429, 503)
_OF_BODIES = (408, 413, 415)
_NUMBER, _INTEGER, _TEXT, _YES_NO = {"type": "number"}, {"type": "integer"}, {"type": "string"}, {"type": "boolean"}


def _object(required, **properties):
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


def _list(items, most=MOST_EVENTS):
    return {"type": "array", "items": items, "maxItems": most}


def _ref(name):
    return {"$ref": f"#/components/schemas/{name}"}


_ID = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}
_LABEL = {"enum": [-1, 1]}
_Y = {"enum": [-1, 1, True, False]}
_FEATURES = {
    "type": "object", "description": "Fields: a string, a number, a list of strings, an object of names to numbers, true, false or null.",
    "additionalProperties": {"oneOf": [_TEXT, _NUMBER, _YES_NO, {"type": "null"}, {"type": "array", "items": _TEXT},
                                       {"type": "object", "additionalProperties": _NUMBER}]}}
_WAITED = {"type": "boolean", "description": "with ?wait=learned: whether it was learned in time"}
SCHEMAS = {
    "Features": _FEATURES,
    "Example": _object("x", x=_ref("Features")),
    "Asked": _object("x", x=_ref("Features"), id={**_ID, "description": "of the event whose label will come: for the score as served"}),
    "Rows": _object("rows", rows=_list(_ref("Example"))),
    "Prediction": _object("margin label seq model", margin=_NUMBER, label=_LABEL, seq=_INTEGER, model=_TEXT),
    "Predictions": _object("results seq model", results=_list(_object("margin label", margin=_NUMBER, label=_LABEL)), seq=_INTEGER,
                           model=_TEXT),
    "Explanation": _object("margin label contributions collisions seq model", margin=_NUMBER, label=_LABEL, seq=_INTEGER, model=_TEXT,
                           contributions={"type": "array", "items": {"type": "array", "prefixItems": [_TEXT, _NUMBER]}},
                           collisions={"type": "array", "items": {"type": "array", "items": _TEXT}}),
    "Event": {**_object("id", id=_ID, x=_ref("Features"), y=_Y), "anyOf": [{"required": ["x"]}, {"required": ["y"]}]},
    "Events": _object("events", events=_list(_ref("Event"))),
    "Stored": _object("id status seq", id=_TEXT, status={"enum": ["stored", "duplicate", "conflict"]}, seq=_INTEGER, learned=_WAITED),
    "StoredEvents": _object("results", results=_list(_ref("Stored")), learned=_WAITED),
    "Command": {"oneOf": [_object("command id", command={"const": "forget"}, id=_ID),
                          _object("command id y", command={"const": "correct"}, id=_ID, y=_Y),
                          _object("command lr", command={"const": "rate"}, lr=_NUMBER),
                          _object("command", command={"const": "reset"}),
                          _object("command drift", command={"const": "policy"}, drift={"enum": list(POLICIES)})]},
    "Ordered": _object("command seq", command=_TEXT, seq=_INTEGER, learned=_WAITED),
    "Stats": {"type": "object", "required": ["learned", "seq", "state_sha256"],
              "properties": {"learned": _INTEGER, "seq": _INTEGER, "state_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                             "as_served": _ref("Served"),
                             "following": {"description": "of a replica: seconds since what answers was written, events known to come",
                                           **_object("dir age lag", dir=_TEXT, age=_NUMBER, lag={"type": ["integer", "null"]})}}},
    "Model": _object("model seq weights options", model=_TEXT, seq=_INTEGER, weights=_INTEGER, options={"type": "object"}),
    "Models": _object("active history models split as_served shadow", active=_TEXT, history=_list(_TEXT), models=_list(_TEXT),
                      split={"type": ["object", "null"]}, as_served=_ref("Served"), shadow={"type": ["object", "null"]}),
    "Served": {"type": "object", "additionalProperties": _object("labelled zero_one", labelled=_INTEGER, zero_one=_NUMBER)},
    "Share": _object("share", share={"type": "number", "minimum": 0, "maximum": 1}),
    "Split": _object("model share", model=_TEXT, share=_NUMBER),
    "Nothing": _object(""),
    "Named": _object("model", model=_TEXT),
    "Changes": _object("options", options={"type": ["object", "null"], "description": "of HingeSVM, such as rule and lr; null: no shadow"}),
    "Shadow": _object("shadow", shadow={"type": ["object", "null"]}),
    "Status": {"type": "object", "properties": {"status": _TEXT}, "required": ["status"]},
    "Error": _object("error", error=_object("code message", code=_TEXT, message=_TEXT, field=_TEXT)),
    "Anything": {"type": "object"},
}


# what the dashboard serves beside its page
_REFUSED = {str(status): {"$ref": "#/components/responses/Error"} for status in (401, 403, 429, 503)}
PAGE = {
    "/v1/stream": {"get": {
        "operationId": "stream", "summary": "Server-sent events once a second: the service in numbers; Last-Event-ID asks for those missed.",
        "security": [{"bearer": []}],
        "responses": {"200": {"description": "OK", "content": {"text/event-stream": {"schema": {"type": "string"}}}}, **_REFUSED}}},
    "/sign-in": {"post": {
        "operationId": "sign_in", "summary": "Take a token from the dashboard's form, and give it back as a cookie for this origin.", "security": [],
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": _object("token", token=_TEXT)}}},
        "responses": {"303": {"description": "Go to the dashboard."}, "401": {"description": "The form again: no such token."},
                      **{status: _REFUSED[status] for status in ("403", "429", "503")}}}},
}


def described(routes):
    """The OpenAPI document of a table of `web.Route`."""
    paths = {}
    for route in routes:
        statuses = {*_ALWAYS[4 if not route.role else 0:], *route.statuses, *(_OF_BODIES if route.body else ())}
        content = {"schema": _ref(route.answer)} if route.answer else {}
        operation = {"operationId": route.handler.__name__, "summary": route.summary, "security": [{"bearer": []}] if route.role else [],
                     "responses": {"200": {"description": "OK", "content": {route.type.decode().partition(";")[0]: content}},
                                   **{str(status): {"$ref": "#/components/responses/Error"} for status in sorted(statuses)}}}
        if route.body:
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(route.body)}}}
        parameters = [{"name": part.partition("}")[0], "in": "path", "required": True, "schema": _TEXT} for part in route.path.split("{")[1:]]
        if route.answer and "learned" in SCHEMAS[route.answer].get("properties", {}) and route.method == "POST":
            parameters.append({"name": "wait", "in": "query", "schema": {"enum": ["learned"]}})
        if parameters:
            operation["parameters"] = parameters
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    error = {"description": "Why not.", "content": {"application/json": {"schema": _ref("Error")}}}
    return {"openapi": "3.1.0", "info": {"title": "linear serve", "version": "1"}, "paths": {**paths, **PAGE},
            "components": {"schemas": SCHEMAS, "responses": {"Error": error},
                           "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}}}
