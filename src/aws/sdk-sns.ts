/** What we use of SNS's client; see sdk-s3.ts. */
export { SNSClient, SubscribeCommand, UnsubscribeCommand } from '@aws-sdk/client-sns';
