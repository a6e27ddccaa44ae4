TITLE="tpch"
def run(run):
    raise NotImplementedError
