// A SCIM server of SCIMMY's own routers, with its users in memory. Arguments: the port and the token.
import express from "express";
import SCIMMY from "scimmy";
import SCIMMYRouters from "scimmy-routers";

const [port, token] = process.argv.slice(2);
const users = new Map();
let made = 0;

function found(id) {
    if (!users.has(id)) throw new SCIMMY.Types.Error(404, null, `Resource ${id} not found`);
    return users.get(id);
}

SCIMMY.Resources.declare(SCIMMY.Resources.User, {
    egress: (resource) => (resource.id ? found(resource.id) : [...users.values()]),
    ingress: (resource, data) => {
        const id = resource.id ?? `u${String(++made).padStart(6, "0")}`;
        if (resource.id) found(id);
        users.set(id, {...data, id});
        return users.get(id);
    },
    degress: (resource) => {
        found(resource.id);
        users.delete(resource.id);
    },
});

const application = express();
application.use("/scim", new SCIMMYRouters({
    type: "bearer",
    handler: (request) => {
        if (request.header("Authorization") !== `Bearer ${token}`) throw new Error("not authorized");
        return "elt-assets";
    },
}));
application.listen(Number(port), "127.0.0.1");
