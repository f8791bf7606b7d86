"""Several machines as one engine: the workers of all nodes start, restart and end their engines together.

In: what becomes of this node's engine (server/orders.py), and how many nodes there are and where. Out: orders to its
owner, and the word that the worker has to end. Node 0 is the authority; the others speak with it alone, over TCP on
the network between the nodes, in lines of JSON. Each line is a list, whose first entry is a word:

    node 0 to a node
        challenge, protocol, nonce     first of all, to whoever connects
        welcome, proof                 it is one of us / refused, why
        start, generation              the engine may be started, as all nodes' are
        stop, generation, why          it has to go
        end, status, why               the worker has to end: 0 in order, 1 as a failure
        leave                          (to itself alone) end in order, as a node was told to
        beat                           once a second
    a node to node 0
        hello, rank, nonce, proof, about     about: what has to be the same on all nodes, as digests
        state, generation, engine, why       "rest", "starting", "up" or "stuck"; why: how it ended, if by itself
        leaving                              it was told to stop
        beat                                 once a second

A generation is one life of the engine on all nodes. Invariants: no engine is started before all nodes are there and
none of them has one; whoever does not hear of the other side for a while, or whose connection ends, ends its engine.

lead.py is node 0's side, member.py every node's own (node 0's too, without a connection), proof.py says who may come
in; those are pure but for their lines in the log, and the caller says what time it is. greeting.py is how two nodes
meet, links.py all other I/O. May import: settings, server/orders.py and server/restarts.py, engine's errors, clock,
utils.
"""
