"""One file per workload, with its `TITLE` and `run(run) -> Result`."""

from bench.workloads import analytics, bulk, floor, insert, memory, native, noisy, point, sessions, tpch, users

ALL = {
    "insert": insert,
    "bulk": bulk,
    "point": point,
    "floor": floor,
    "analytics": analytics,
    "tpch": tpch,
    "users": users,
    "memory": memory,
    "native": native,
    "noisy": noisy,
    "sessions": sessions,
}
