"""Break the engine on purpose: does the suite notice?

`patches.txt` lists the breaks, each a few lines of the source exchanged; `__main__` applies one after the other to a
copy of the source and runs the tests that should see it. ``python -m tests.mutations`` from the checkout's root.
"""
