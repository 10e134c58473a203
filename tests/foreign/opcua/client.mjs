// node-opcua against the simulated OPC UA server: does what the JSON on standard input asks for, prints what it saw.
// Input: { endpoint, folder, mode, policy, user: {userName, password}?, namespace, retries, steps: [[name, argument], ...] }.
// Output: one JSON object, step by step; a step that failed has { error }.
import * as certificates from "node-opcua-certificate-manager";
import * as opcua from "node-opcua-client";
import path from "node:path";

const { AttributeIds, DataType, MessageSecurityMode, OPCUAClient, SecurityPolicy, UserTokenType } = opcua;

const plain = (value) => JSON.parse(JSON.stringify(value ?? null, (_, v) => (typeof v === "bigint" ? Number(v) : v)));
const read = async (line) => JSON.parse(await new Promise((done) => {
  let text = "";
  line.on("data", (part) => (text += part)).on("end", () => done(text));
}));

class Steps {
  constructor(session, index, endpoint) {
    Object.assign(this, { session, index, endpoint });
    this.id = (name) => `ns=${index};s=${name}`;
  }

  // Each tag by browse path: what the type attributes and the value say.
  async conformance(paths) {
    const found = {};
    for (const each of paths) {
      const steps = each.split(".").map((name) => `/${this.index}:${name}`).join("");
      const result = await this.session.translateBrowsePath(opcua.makeBrowsePath("ObjectsFolder", steps));
      const nodeId = result.targets[0].targetId;
      const attributes = ["DataType", "ValueRank", "ArrayDimensions", "AccessLevel", "Value", "NodeClass", "Historizing"];
      const values = await this.session.read(attributes.map((name) => ({ nodeId, attributeId: AttributeIds[name] })));
      const [dataType, rank, dimensions, access, value, nodeClass, historizing] = values;
      found[each] = {
        nodeId: nodeId.toString(),
        dataType: DataType[dataType.value.value.value],
        rank: rank.value.value,
        dimensions: Array.from(dimensions.value.value ?? []),
        access: access.value.value,
        variant: DataType[value.value.dataType],
        length: value.value.arrayType === 0 ? null : value.value.value.length,
        status: value.statusCode.name,
        source: value.sourceTimestamp,
        server: value.serverTimestamp,
        nodeClass: nodeClass.value.value,
        historizing: historizing.value.value,
      };
    }
    return found;
  }

  async analog(name) {
    const { engineeringUnits, engineeringUnitsRange } = await opcua.readUAAnalogItem(this.session, this.id(name));
    return {
      low: engineeringUnitsRange.low, high: engineeringUnitsRange.high,
      unit: engineeringUnits.displayName.text, unitId: engineeringUnits.unitId,
    };
  }

  async value(name) {
    const value = await this.session.read({ nodeId: this.id(name), attributeId: AttributeIds.Value });
    return { value: value.value.value, status: value.statusCode.name };
  }

  async write([name, dataType, value]) {
    const variant = { dataType: DataType[dataType], value };
    const item = { nodeId: this.id(name), attributeId: AttributeIds.Value, value: { value: variant } };
    return (await this.session.write(item)).name;
  }

  async browse(name) {
    const found = await this.session.browse({
      nodeId: this.id(name), referenceTypeId: "HierarchicalReferences", includeSubtypes: true, browseDirection: 0, resultMask: 63,
    });
    return found.references.map((reference) => reference.browseName.name);
  }

  async paged([name, most]) {
    this.session.requestedMaxReferencesPerNode = most;
    const request = { nodeId: this.id(name), referenceTypeId: "HierarchicalReferences", includeSubtypes: true, resultMask: 63 };
    let result = await this.session.browse(request);
    const sizes = [result.references.length];
    while (result.continuationPoint) {
      result = await this.session.browseNext(result.continuationPoint, false);
      sizes.push(result.references.length);
    }
    this.session.requestedMaxReferencesPerNode = 0;
    return sizes;
  }

  async tooMany(count) {
    const item = { nodeId: this.id("Press.Force"), attributeId: AttributeIds.Value };
    await this.session.read(Array(count).fill(item));
  }

  async call([object, name]) {
    const objectId = this.id(object);
    const result = await this.session.call({ objectId, methodId: `${objectId}.${name}()`, inputArguments: [] });
    return { status: result.statusCode.name, outputs: result.outputArguments.map((each) => [DataType[each.dataType], each.value]) };
  }

  async subscribed(asked) {
    return this.session.createSubscription2({
      requestedPublishingInterval: 50, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 20,
      maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 1, ...asked,
    });
  }

  async subscription([name, count]) {
    const subscription = await this.subscribed();
    const item = await subscription.monitor(
      { nodeId: this.id(name), attributeId: AttributeIds.Value },
      { samplingInterval: 20, queueSize: 1000, discardOldest: true }, opcua.TimestampsToReturn.Both,
    );
    const rows = [];
    await new Promise((done) => item.on("changed", (value) => {
      rows.push([value.value.value, value.sourceTimestamp, value.statusCode.name]);
      if (rows.length === count) done();
    }));
    await subscription.terminate();
    return rows;
  }

  // An alarm becomes active; it is acknowledged; a refresh tells of it again.
  async alarm(source) {
    const fields = ["EventId", "EventType", "SourceName", "Message", "Severity", "Time", "Retain", "ConditionId",
      "ConditionName", "ActiveState", "ActiveState.Id", "AckedState", "AckedState.Id", "LimitState.CurrentState"];
    const filter = opcua.constructEventFilter(fields, opcua.ofType("BaseEventType"));
    const subscription = await this.subscribed();
    const item = await subscription.monitor(
      { nodeId: "i=2253", attributeId: AttributeIds.EventNotifier }, { samplingInterval: 0, queueSize: 1000, filter },
      opcua.TimestampsToReturn.Neither,
    );
    const events = [];
    let wake = () => {};
    item.on("changed", (values) => {
      events.push(Object.fromEntries(fields.map((name, k) => [name, values[k]])));
      wake();
    });
    const next = async (wanted) => {
      for (;;) {
        const k = events.findIndex(wanted);
        if (k >= 0) return events.splice(k, 1)[0];
        await new Promise((done) => (wake = done));
      }
    };
    const told = (event) => Object.fromEntries(Object.entries(event).map(([name, v]) => {
      const value = v.value;
      if (name === "EventId") return [name, value.toString("hex")];
      return [name, value?.text ?? (value?.namespace === undefined ? value : value.toString())];
    }));
    const of = (event) => event.SourceName.value === source;
    const first = await next((event) => of(event) && event["ActiveState.Id"].value === true);
    const conditionId = first.ConditionId.value;
    const wrong = await this.session.acknowledgeCondition(conditionId, Buffer.from("nonsense"), "not this one");
    const right = await this.session.acknowledgeCondition(conditionId, first.EventId.value, "seen by a stranger");
    const acked = await next((event) => of(event) && event["AckedState.Id"].value === true);
    events.length = 0;
    const refresh = await opcua.callConditionRefresh(this.session, subscription.subscriptionId);
    await next((event) => event.EventType.value.value === 2788);
    await subscription.terminate();
    return { first: told(first), acked: told(acked), wrong: wrong.name, right: right.name, refresh: refresh?.name ?? "Good" };
  }

  async history([name, begin, end, most]) {
    const result = await this.session.readHistoryValue(this.id(name), new Date(begin), new Date(end), { numValuesPerNode: most });
    const values = result.historyData?.dataValues ?? [];
    return { status: result.statusCode.name, rows: values.map((v) => [v.value.value, v.sourceTimestamp]) };
  }

  async userAccess(name) {
    const value = await this.session.read({ nodeId: this.id(name), attributeId: AttributeIds.UserAccessLevel });
    return value.value.value;
  }
}

const asked = await read(process.stdin);
const manager = new certificates.OPCUACertificateManager({ rootFolder: path.join(asked.folder, "pki"), automaticallyAcceptUnknownCertificate: true });
await manager.initialize();
const client = OPCUAClient.create({
  applicationName: "stranger", endpointMustExist: false, clientCertificateManager: manager,
  securityMode: MessageSecurityMode[asked.mode ?? "None"], securityPolicy: SecurityPolicy[asked.policy ?? "None"],
  connectionStrategy: { maxRetry: asked.retries ?? 0, initialDelay: 100, maxDelay: 300 }, requestedSessionTimeout: 60000, keepSessionAlive: false,
});
const out = {};
try {
  await client.connect(asked.endpoint);
  const identity = asked.user ? { type: UserTokenType.UserName, ...asked.user } : { type: UserTokenType.Anonymous };
  const session = await client.createSession(identity);
  const index = (await session.readNamespaceArray()).indexOf(asked.namespace);
  const steps = new Steps(session, index, asked.endpoint);
  for (const [name, argument] of asked.steps) {
    const key = `${name}${name in out ? `:${Object.keys(out).length}` : ""}`;
    try {
      out[key] = plain(await steps[name](argument));
    } catch (error) {
      out[key] = { error: error.message };
    }
  }
  await session.close();
} catch (error) {
  out.error = error.message;
}
await client.disconnect();
await manager.dispose();
process.stdout.write(JSON.stringify(out));
process.exit(0);
