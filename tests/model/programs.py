"""Programs as trees: a generator cannot be copied, so each place in it is reached by running it again.

A *node* is a program and what its actions answered so far; the action that comes next is kept with it.
"""


class Programs:
    """The places of all programs of one scenario."""

    def __init__(self, cfg):
        self.cfg = cfg
        self.roots, self.next_node, self.actions, self.origin = {}, {}, [], []

    def root(self, program, args):
        node = self.roots.get((program, args))
        if node is None:
            node = self.roots[program, args] = self.add_node(program, args, None, None)
        return node

    def advance(self, node, result):
        following = self.next_node.get((node, result))
        if following is None:
            program, args, _, _ = self.origin[node]
            following = self.next_node[node, result] = self.add_node(program, args, node, result)
        return following

    def add_node(self, program, args, parent, result):
        self.origin.append((program, args, parent, result))
        trace, at = [], len(self.origin) - 1
        while self.origin[at][2] is not None:
            trace.append(self.origin[at][3])
            at = self.origin[at][2]
        run = program(self.cfg, *args)
        try:
            action = next(run)
            for value in reversed(trace):
                action = run.send(value)
        except StopIteration:
            action = ("end",)
        self.actions.append(action)
        return len(self.actions) - 1
