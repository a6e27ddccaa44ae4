TITLE="native"
def run(run):
    raise NotImplementedError
