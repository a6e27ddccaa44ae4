TITLE="analytics"
def run(run):
    raise NotImplementedError
