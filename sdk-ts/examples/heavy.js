// A handler for a thread of its own: see inThread in the README.
export default function heavy(job, { n }) {
  job.log.info("computing");
  let sum = 0;
  for (let i = 1; i <= n; i++) sum += i;
  return sum;
}
