"""Which server has an object: how somebody notices that it is another one than before."""

import ipcdatastore


class Nothing:
    def nothing(self):
        pass


def test_each_server_has_another_one(directory):
    link = ipcdatastore.Link("object", directory)
    assert link.server_id is None
    seen = set()
    for _ in range(2):
        with ipcdatastore.serve_object("object", Nothing(), directory=directory) as server:
            assert link.server_id == server.id
            assert link.server_id == link.server_id  # as long as it is the same one
            seen.add(link.server_id)
        assert link.server_id is None
    assert len(seen) == 2
