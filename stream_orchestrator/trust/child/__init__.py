"""What runs inside a sandbox process. It imports the standard library, orjson and itself: a start takes tens of ms.

    serve    the loop: one message of steps in, one `done` per step out
    turn     one run of one script, and how it ended
    context  what scripts see: `context`, `logger`, `process_with_llm`
    guard    what a script may not do, and its limits
    tidy     what is put back between two scripts

The parent loads this package by its path, under a name of its own, so that nothing else of ours is imported here.
"""
