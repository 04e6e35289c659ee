import { connect } from "haulier";
import { resize } from "./define.js";

const client = connect();
const job = await client.enqueue(resize, { image: "cat.png", width: 100 });
const result: string = await client.wait(job); // TypeScript knows that it is a string
console.log(result); // cat.png@100
