// Gives the exports their names of the canonical ABI, which are no identifiers.

const NAMES = {
  checkConfig: "plugin@0.1.0#check-config",
  filter: "filter@0.1.0#filter",
  validate: "validator@0.1.0#validate",
  score: "scorer@0.1.0#score",
  render: "template@0.1.0#render",
  parse: "template@0.1.0#parse",
};

export default class Names {
  afterCompile(module) {
    const functionOf = (name) => {
      const found = module.getExport(name);
      return found ? this.binaryen.getExportInfo(found).value : null;
    };
    const rename = (name, renamed) => {
      module.addFunctionExport(functionOf(name), `autodidact:plugin/${renamed}`);
      module.removeExport(name);
    };
    const postReturn = functionOf("postReturn");
    for (const [name, renamed] of Object.entries(NAMES)) {
      if (!functionOf(name)) continue;
      rename(name, renamed);
      module.addFunctionExport(postReturn, `cabi_post_autodidact:plugin/${renamed}`);
    }
    rename("describe", "plugin@0.1.0#describe");
    module.removeExport("postReturn");
  }
}
