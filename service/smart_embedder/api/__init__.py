"""Every wire format, each in one file over one engine.

How to add a dialect:

1. Write one file. Structs (msgspec) for what comes in and what goes out; vectors are
   `encoding.Vector` fields, filled by `encoding.numbers` or `encoding.base64_floats`.
2. Its handlers take the decoded body and a `Call`, and return a struct:
   `found = await call.embed(body.texts, field="texts", dense=True)`. The call carries the client,
   lane and deadline to the engine, and fingerprint and timings to the headers. `field` is what the
   dialect calls its texts; an engine error then reads `texts[3]`.
3. A handler raises the classes of `smart_embedder.errors`, naming field, limit and value. It never
   thinks of a status: the table is in `api.errors`. Where the dialect differs, its `Dialect` says
   so: `Dialect(name=…, error=…, statuses={Overloaded: 503})`.
4. The error struct has a classmethod `of(problem)`; all refusals of its paths take that shape.
5. `ENDPOINTS` at the end of the file lists paths, bodies and answers; the OpenAPI document is
   made from it. On a path that several dialects share, `keys` names the fields that mark a body as
   this one's.
6. Add the file to `api.routes`. A test in `tests/service` that drives it with the ecosystem's own
   client completes it.
"""
