"""The HTTP front in several processes on one port (HTTP_PROCESSES): what they share stays with one owner.

The worker's own process is the owner: of the engine, of the port, of how many requests run at once, of the memory for
bodies and media, of quarantine and of all that is measured. Each front process accepts connections from the owner's
listening socket, carries requests to the engine itself, and speaks with the owner over a Unix socket in lists of JSON,
whose first entry is a word:

    owner to front
        hello, settings               who it is; base64 of a pickle, from the owner alone
        stand, state, life, endings   how the engine stands, at each change
        serve, facts, limit           what was learned of the model: from now on it accepts connections
        grant, ids, more              permits: for these asks, and so many to keep (ledger.py, lease.py)
        refuse, id                    there is no room for this ask
        pressed, round                0: permits may be kept; otherwise each goes back as soon as nobody runs on it
        full, yes or no               whether a request need not even ask
        seen, id, yes or no           the same, to who looked
        room, id, bytes, which        memory, as asked for; null: there was none in time
        deaths, ends                  what the quarantine remembers
        reply, id, text               to a question; null: it failed
        leave / fail / end            take no more requests / fail what still runs / close and exit
    front to owner
        up                            it can be told to serve
        ask, id / withdraw, id        a permit is wanted / no more
        look, id                      whether it is worth while to read a body before asking
        give, count, round            permits back; and, with the round, that it was heard that they are short
        take, id, which, bytes, seconds / untake, id / put, which, bytes      memory, for bodies or media
        begun, requests / ended, number, measures                    requests, for whoever measures
        figures, tokens, ttfts, age   once a second: what streams gave, and how long ago the engine was last heard
        question, id, what, about     for the page's state, for metrics, and to share a death of the engine
        drained                       nothing that it ran when it was told to leave, or to fail, runs any more

wire.py frames the messages, ledger.py and lease.py are the two sides of the permits, reports.py carries what is
measured, mirror.py is the engine as it was told of; those are pure. channel.py speaks, owner.py keeps the processes,
front.py is one of them. May import what its neighbours in front/http/ may, and engine.
"""
