package store

// UserTokenPrefix begins every user token, so that one can be told from other credentials.
const UserTokenPrefix = userTokenPrefix
