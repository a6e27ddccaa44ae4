TITLE="users"
def run(run):
    raise NotImplementedError
