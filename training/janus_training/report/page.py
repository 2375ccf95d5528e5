def write_report(run, model, results): pass
