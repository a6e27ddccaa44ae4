"""The steps of the demonstration, in their order; each is a function of the world."""

from demo.steps import changes, clients, cold, crash, declare, disk, isolation, joins, load

ALL = [
    declare.run,
    load.run,
    isolation.run,
    joins.run,
    changes.run,
    clients.run,
    cold.run,
    cold.change_again,
    crash.run,
    crash.in_flight,
    disk.run,
]
