/** Generated from appliance/gateway/openapi.json by `npm run api`. */

export interface paths {
    "/api/chat": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Answer a conversation at the console */
        post: operations["chat"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/models": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Installed models and their facts */
        get: operations["listInstalledModels"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/session": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Who is signed in */
        get: operations["getSession"];
        put?: never;
        /** Sign in with password and second factor */
        post: operations["signIn"];
        /** Sign out */
        delete: operations["signOut"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/setup": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Whether the first-boot ceremony was done */
        get: operations["getSetUp"];
        put?: never;
        /** Do the first-boot ceremony */
        post: operations["setUp"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/status": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Health, processes and guarantees */
        get: operations["getStatus"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/ca.pem": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Certificate of the device's own authority */
        get: operations["getCa"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/healthz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** 200 while this process lives */
        get: operations["isAlive"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi.json": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** This document */
        get: operations["getOpenApi"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/readyz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** 200 when a model serves and the audit log can be written */
        get: operations["isReady"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/chat/completions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Answer a conversation, whole or as a stream */
        post: operations["createChatCompletion"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/models": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Models that can be asked now */
        get: operations["listModels"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/models/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One model that can be asked now */
        get: operations["getModel"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @description Message of an answer. */
        AnswerMessage: {
            /** @description The text, `null` when only tools are called. */
            content: string | null;
            /** @description What the model thought before. */
            reasoning_content?: string | null;
            /** @description Always `null`. */
            refusal: string | null;
            /** @description `assistant`. */
            role: string;
            /** @description Calls of tools. */
            tool_calls?: components["schemas"]["ToolCall"][] | null;
        };
        /** @description State of the audit log. */
        AuditState: {
            /** @description Whether leaves can be written now. */
            is_writable: boolean;
            /** @description First line of each checkpoint. */
            origin: string;
            /** @description Root of the last signed checkpoint, base64. */
            root: string;
            /**
             * Format: int64
             * @description Leaves in the last signed checkpoint.
             */
            size: number;
            /** @description Verifier key in signed-note form. */
            vkey: string;
        };
        /** @description What a model can do through this API. */
        Capabilities: {
            /** @description Chat completions. */
            chat: boolean;
            /** @description Streaming. */
            streaming: boolean;
        };
        /** @description One event of a stream: the text after `data: `. The last one is `[DONE]`. */
        ChatChunk: {
            /** @description One, or none in the chunk with usage. */
            choices: components["schemas"]["ChunkChoice"][];
            /**
             * Format: int64
             * @description Unix seconds.
             */
            created: number;
            /** @description Same in all chunks of a stream. */
            id: string;
            /** @description Model that answers. */
            model: string;
            /** @description `chat.completion.chunk`. */
            object: string;
            /** @description In the last chunk with choices: leads to the leaf of this answer, `<serial>-<leaf index>`. */
            produce_id?: string | null;
            /** @description Names the model package. */
            system_fingerprint?: string | null;
            usage?: components["schemas"]["Usage"] | null;
        };
        /** @description A whole answer. */
        ChatCompletion: {
            /** @description Exactly one. */
            choices: components["schemas"]["Choice"][];
            /**
             * Format: int64
             * @description Unix seconds.
             */
            created: number;
            /** @description Id of the answer. */
            id: string;
            /** @description Model that answered. */
            model: string;
            /** @description `chat.completion`. */
            object: string;
            /** @description Leads to the leaf of this answer in the audit log: `<serial>-<leaf index>`. */
            produce_id: string;
            /** @description Names the model package. */
            system_fingerprint?: string | null;
            /** @description Token counts. */
            usage: components["schemas"]["Usage"];
        };
        /** @description One message of a conversation. */
        ChatMessage: {
            content?: components["schemas"]["Content"] | null;
            /** @description Thinking of an earlier answer. */
            reasoning_content?: string | null;
            /** @description `system`, `developer`, `user`, `assistant` or `tool`. */
            role: string;
            /** @description Which call a `tool` message answers. */
            tool_call_id?: string | null;
            /** @description Calls of an earlier answer. */
            tool_calls?: components["schemas"]["ToolCall"][] | null;
        };
        /**
         * @description Body of `POST /v1/chat/completions` and `POST /api/chat`. Fields that are not listed are ignored; `null` means
         *     that the field is not given.
         */
        ChatRequest: {
            /** @description `false` keeps this request out of the prefix cache: it takes nothing from it and leaves nothing in it. */
            cache_prompt?: boolean | null;
            /** @description Variables for the chat template, for example `enable_thinking`. */
            chat_template_kwargs?: unknown;
            /**
             * Format: float
             * @description −2 to 2.
             */
            frequency_penalty?: number | null;
            /** @description Report log probabilities. */
            logprobs?: boolean | null;
            /**
             * Format: int32
             * @description Same as `max_tokens`.
             */
            max_completion_tokens?: number | null;
            /**
             * Format: int32
             * @description Most tokens to make.
             */
            max_tokens?: number | null;
            /** @description The conversation so far, oldest first. */
            messages: components["schemas"]["ChatMessage"][];
            /**
             * Format: float
             * @description Least probability relative to the likeliest.
             */
            min_p?: number | null;
            /** @description Name of a serving model. */
            model: string;
            /** @description Whether the model may make several calls in one answer. */
            parallel_tool_calls?: boolean | null;
            /**
             * Format: float
             * @description −2 to 2.
             */
            presence_penalty?: number | null;
            /** @description `24h` keeps the prompt's prefix in the cache when others give way; `in_memory` is the default. */
            prompt_cache_retention?: string | null;
            /** @description `none` switches thinking off. */
            reasoning_effort?: string | null;
            response_format?: components["schemas"]["ResponseFormat"] | null;
            /**
             * Format: int64
             * @description Seed.
             */
            seed?: number | null;
            /** @description `flex` waits for requests that somebody waits for. */
            service_tier?: string | null;
            stop?: components["schemas"]["Stop"] | null;
            /** @description Send the answer as server-sent events. */
            stream?: boolean | null;
            stream_options?: components["schemas"]["StreamOptions"] | null;
            /** @description Computed alone and in a fixed order: the same request gives the same bytes on the same box. */
            strict_reproducible?: boolean | null;
            /**
             * Format: float
             * @description 0 is greedy.
             */
            temperature?: number | null;
            thinking?: components["schemas"]["Thinking"] | null;
            tool_choice?: components["schemas"]["ToolChoice"] | null;
            /** @description Functions that the model may call. */
            tools?: unknown[] | null;
            /**
             * Format: int32
             * @description Likeliest tokens kept, 0 is off.
             */
            top_k?: number | null;
            /**
             * Format: int32
             * @description Likeliest tokens reported at each place, 0 to 20.
             */
            top_logprobs?: number | null;
            /**
             * Format: float
             * @description Nucleus.
             */
            top_p?: number | null;
        };
        /** @description The answer of a [`ChatCompletion`]. */
        Choice: {
            /** @description `stop`, `length` or `tool_calls`. */
            finish_reason: string;
            /**
             * Format: int32
             * @description Always 0.
             */
            index: number;
            /** @description Log probabilities when asked for. */
            logprobs: unknown;
            /** @description The message. */
            message: components["schemas"]["AnswerMessage"];
        };
        /** @description What a chunk adds. */
        ChunkChoice: {
            /** @description What is added. */
            delta: components["schemas"]["Delta"];
            /** @description Set in the last chunk with choices. */
            finish_reason: string | null;
            /**
             * Format: int32
             * @description Always 0.
             */
            index: number;
            /** @description Log probabilities when asked for. */
            logprobs?: unknown;
        };
        /** @description Parts of the answer. */
        CompletionTokensDetails: {
            /**
             * Format: int64
             * @description Tokens of thinking.
             */
            reasoning_tokens: number;
        };
        /** @description Content of a message. */
        Content: string | components["schemas"]["ContentPart"][];
        /** @description One part of a content. */
        ContentPart: {
            /** @description The text. */
            text?: string | null;
            /** @description `text`. */
            type: string;
        };
        /** @description Added pieces of an answer. */
        Delta: {
            /** @description Text. */
            content?: string | null;
            /** @description Thinking. */
            reasoning_content?: string | null;
            /** @description `assistant`, in the first chunk. */
            role?: string | null;
            /** @description Pieces of calls. */
            tool_calls?: components["schemas"]["ToolCall"][] | null;
        };
        /** @description Facts for the words of a reason. */
        Detail: {
            /** @description Which of the reasons. */
            code: string;
            /** @description Name and value, for example `needs` and `21.3 GiB`. */
            facts: [
                string,
                string
            ][];
        };
        /** @description A refusal or failure as API clients get it. */
        ErrorBody: {
            /** @description What happened. */
            error: components["schemas"]["ErrorObject"];
        };
        /** @description What happened, in the form OpenAI clients know. */
        ErrorObject: {
            /** @description Code, for example `model_not_found`. */
            code: string;
            /** @description What happened, why, and what to do. */
            message: string;
            /** @description Field of the request that is wrong, if one is. */
            param: string | null;
            /** @description Class, for example `invalid_request_error`. */
            type: string;
        };
        /** @description Name and arguments of a call. */
        FunctionCall: {
            /** @description JSON text; in a stream a piece of it. */
            arguments?: string | null;
            /** @description Name; in a stream only in the first part of a call. */
            name?: string | null;
        };
        /** @description One promise of the box. */
        Guarantee: {
            /** @description `process` or `platform`. */
            group: string;
            /** @description Whether it is in force on this machine now, as measured. */
            in_force: boolean;
            /** @description Stable name, for example `engine.network-namespace`. */
            name: string;
            /** @description When not: a stable code that says why. */
            why: string | null;
        };
        /**
         * @description Health of the box.
         * @enum {string}
         */
        Health: "ok" | "starting" | "degraded" | "stopped";
        /** @description Installed models, as the console shows them. */
        InstalledModels: {
            /** @description The models. */
            data: components["schemas"]["ModelFacts"][];
        };
        /** @description One model that can be asked. */
        Model: {
            /** @description What the model can do. */
            capabilities: components["schemas"]["Capabilities"];
            /**
             * Format: int64
             * @description When it was imported, Unix seconds (OpenAI).
             */
            created: number;
            /** @description When it was imported, RFC 3339 (Anthropic). */
            created_at: string;
            /** @description Name for people (Anthropic). */
            display_name: string;
            /** @description Name to put into `model`. */
            id: string;
            /** @description `active` (Anthropic). */
            lifecycle: string;
            /**
             * Format: int32
             * @description Context of one stream in tokens.
             */
            max_input_tokens: number;
            /**
             * Format: int32
             * @description Most tokens of one answer.
             */
            max_tokens: number;
            /** @description `model` (OpenAI). */
            object: string;
            /** @description Who made the package (OpenAI). */
            owned_by: string;
            /** @description `model` (Anthropic). */
            type: string;
        };
        /** @description Facts of an installed model, from its verified package. */
        ModelFacts: {
            /** @description `general.architecture` of the GGUF. */
            architecture: string;
            /** @description SHA-256 of the chat template, lower-case hex. */
            chat_template_digest: string;
            /**
             * Format: int32
             * @description Trained context in tokens.
             */
            context_tokens: number;
            /** @description Filing number (备案号), empty when the release has none. */
            filing_number: string;
            /**
             * Format: int32
             * @description Attention heads.
             */
            head_count: number;
            /** @description When it was imported, RFC 3339 UTC. */
            imported_at: string;
            /**
             * Format: int64
             * @description KV cache bytes per token at f16.
             */
            kv_bytes_per_token: number;
            /**
             * Format: int32
             * @description Key/value heads.
             */
            kv_head_count: number;
            /**
             * Format: int32
             * @description Layers.
             */
            layer_count: number;
            /** @description Licence. */
            license: string;
            /** @description Name under which clients ask for it. */
            name: string;
            /** @description Root digest of the signed statement: SHA-256, lower-case hex. */
            package_digest: string;
            /**
             * Format: int64
             * @description Parameters, counted from the tensor shapes.
             */
            parameter_count: number;
            /**
             * Format: int64
             * @description Anti-rollback number.
             */
            security_version: number;
            /** @description Hint of the vendor key that signed it. */
            signed_by: string;
            /** @description `stored`, `loading`, `serving`, `failed`. */
            state: string;
            /** @description Tensor types with their number of tensors, most frequent first. */
            tensor_types: [
                string,
                number
            ][];
            /** @description Tokenizer, for example `gpt2/glm4`. */
            tokenizer: string;
            /** @description Version of the release. */
            version: string;
            /**
             * Format: int64
             * @description Bytes of the GGUF file.
             */
            weights_bytes: number;
            /** @description SHA-256 of the GGUF file, lower-case hex. */
            weights_digest: string;
        };
        /** @description Models that can be asked, in a form that fits OpenAI and Anthropic clients. */
        ModelList: {
            /** @description The models. */
            data: components["schemas"]["Model"][];
            /** @description Id of the first model, `null` when there is none. */
            first_id: string | null;
            /** @description Always false: there are no further pages. */
            has_more: boolean;
            /** @description Id of the last model, `null` when there is none. */
            last_id: string | null;
            /** @description `list`. */
            object: string;
        };
        /** @description A JSON Schema with its name. */
        NamedSchema: {
            /** @description For people. */
            description?: string | null;
            /** @description Letters, digits, `_` and `-`. */
            name: string;
            /** @description The schema; any object when it is left out. */
            schema?: unknown;
            /** @description Whether the schema keeps to the narrower rules of strict ones. The answer fits either way. */
            strict?: boolean | null;
        };
        /** @description Names a function that must be called. */
        NamedTool: {
            /** @description Its name. */
            function: components["schemas"]["ToolName"];
            /** @description `function`. */
            type: string;
        };
        /** @description An admin to be made by the ceremony. */
        NewAccount: {
            /** @description Password, at least 12 characters of three classes. */
            password: string;
            /** @description System, security or audit. */
            role: components["schemas"]["Role"];
            /** @description A code of that secret: shows that the person's device holds it. */
            totp_code: string;
            /** @description Base32 secret of the one-time codes. */
            totp_secret: string;
            /** @description Name to sign in with. */
            username: string;
        };
        /** @description An ordinary user to be made. */
        NewUser: {
            /** @description First password. */
            password: string;
            /** @description Base32 secret of the one-time codes. */
            totp_secret: string;
            /** @description Name to sign in with. */
            username: string;
        };
        /** @description One fact about the machine under the supervisor. */
        PlatformFact: {
            /** @description As measured; `null` when it cannot be. */
            measured: string | null;
            /** @description Stable name, for example `image-root` or `pcr-7`. */
            name: string;
            /** @description As the image's signer published it; `null` when it says nothing about it. */
            published: string | null;
        };
        /** @description A refusal or failure as the console gets it (RFC 9457). */
        Problem: {
            /** @description Stable code, for example `api.model.loading`. */
            code: string;
            /** @description Why it happened, in the caller's language. */
            detail: string;
            /** @description What to do, in the caller's language. */
            remedy: string;
            /** @description Same as the header `x-request-id`. */
            request_id: string;
            /**
             * Format: int32
             * @description HTTP status.
             */
            status: number;
            /** @description What happened, in the caller's language. */
            title: string;
            /** @description `about:blank#` and the code. */
            type: string;
        };
        /** @description One process of the box. */
        Process: {
            /** @description Name and version of the model that an engine runs or is to run; `null` for the gateway. */
            model: string | null;
            /** @description `starting`, `serving`, `restarting`, `stopped`. */
            phase: string;
            /**
             * Format: int32
             * @description Process id, `null` while it is down.
             */
            pid: number | null;
            progress: components["schemas"]["Progress"] | null;
            /**
             * Format: int32
             * @description How often it was restarted since the supervisor started.
             */
            restart_count: number;
            /** @description `gateway` or `engine`. */
            role: string;
            /**
             * Format: int64
             * @description Steps that the engine's loop made; `null` for the gateway.
             */
            step_count: number | null;
        };
        /** @description How far the start of an engine is. */
        Progress: {
            /**
             * Format: int32
             * @description Thousandths of the stage.
             */
            permille: number;
            /** @description `verifying`, `loading` or `asking`. */
            stage: string;
        };
        /** @description Parts of the prompt. */
        PromptTokensDetails: {
            /**
             * Format: int64
             * @description Tokens that were already computed.
             */
            cached_tokens: number;
        };
        /** @description What the text of an answer must look like. */
        ResponseFormat: {
            /** @enum {string} */
            type: "text";
        } | {
            /** @enum {string} */
            type: "json_object";
        } | {
            /** @description The schema and its name. */
            json_schema: components["schemas"]["NamedSchema"];
            /** @enum {string} */
            type: "json_schema";
        } | {
            /** @description The expression. */
            pattern: string;
            /** @enum {string} */
            type: "regex";
        } | {
            /** @description The grammar. */
            definition: string;
            /** @description `lark`. */
            syntax?: string | null;
            /** @enum {string} */
            type: "grammar";
        };
        /**
         * @description Role of a person.
         * @enum {string}
         */
        Role: "system" | "security" | "audit" | "user";
        /** @description An open session. */
        Session: {
            /** @description When the session ends if nothing more is done, RFC 3339 UTC. */
            expires_at: string;
            /** @description Role at this moment. */
            role: components["schemas"]["Role"];
            /** @description Account name. */
            username: string;
        };
        /** @description The first-boot ceremony: three people, none of whom holds two roles. */
        SetUp: {
            /** @description Exactly one account for each of system, security and audit. */
            accounts: components["schemas"]["NewAccount"][];
            /** @description Make a first API key with that label. */
            first_key_label?: string | null;
            first_user?: components["schemas"]["NewUser"] | null;
            /** @description One-time code that the box showed on its own screen. */
            setup_code: string;
        };
        /** @description What the ceremony made. */
        SetUpDone: {
            /** @description `<id>.<secret>` of the first key, if one was asked for; shown only here. */
            first_key?: string | null;
            /**
             * Format: int64
             * @description Index of the last leaf of the ceremony in the audit log.
             */
            leaf_index: number;
            /** @description Opens the encrypted state when the TPM would not; shown only here. Absent where nothing is encrypted. */
            recovery_key?: string | null;
        };
        /** @description Whether the first-boot ceremony was done. */
        SetUpState: {
            /** @description Whether it was done. */
            is_set_up: boolean;
        };
        /** @description What a person types to sign in. */
        SignIn: {
            /** @description Six digits of the second factor. */
            code: string;
            /** @description Password. */
            password: string;
            /** @description Account name. */
            username: string;
        };
        /** @description A whole picture of the box at one moment. */
        Status: {
            /** @description State of the audit log. */
            audit: components["schemas"]["AuditState"];
            /** @description Facts for those of the reasons that have some. */
            details: components["schemas"]["Detail"][];
            /** @description Each promise, and whether it holds on this machine now. */
            guarantees: components["schemas"]["Guarantee"][];
            /** @description The one word a person looks at first. */
            health: components["schemas"]["Health"];
            /** @description Whether this is a developer's machine (no sealed image under the supervisor). */
            is_developer_mode: boolean;
            /** @description Whether the first-boot ceremony was done. */
            is_set_up: boolean;
            /** @description What is measured of the machine, beside what the image's signer published; empty on a developer's machine. */
            platform: components["schemas"]["PlatformFact"][];
            /** @description The gateway and the engines. */
            processes: components["schemas"]["Process"][];
            /** @description Why health is not `ok`: stable codes. */
            reasons: string[];
            /** @description Serial of this device. */
            serial: string;
            serving: components["schemas"]["ModelFacts"] | null;
            /**
             * Format: int32
             * @description Process id of the supervisor.
             */
            supervisor_pid: number;
            /**
             * Format: int64
             * @description Milliseconds since the supervisor started.
             */
            uptime_ms: number;
            /** @description Version of the product. */
            version: string;
        };
        /** @description Stop texts. */
        Stop: string | string[];
        /** @description Options of a stream. */
        StreamOptions: {
            /** @description Send a last chunk with usage. */
            include_usage?: boolean | null;
        };
        /** @description Switch for thinking. */
        Thinking: {
            /** @description `enabled` or `disabled`. */
            type: string;
        };
        /** @description A call of a tool. */
        ToolCall: {
            /** @description Name and arguments. */
            function: components["schemas"]["FunctionCall"];
            /** @description Id of the call; in a stream only in the first part of a call. */
            id?: string | null;
            /**
             * Format: int32
             * @description Place in the list (streams only).
             */
            index?: number | null;
            /** @description `function`. */
            type?: string | null;
        };
        /** @description Whether the model may or must call a function. */
        ToolChoice: string | components["schemas"]["NamedTool"];
        /** @description Name of a function. */
        ToolName: {
            /** @description One of those in `tools`. */
            name: string;
        };
        /** @description Token counts. */
        Usage: {
            /**
             * Format: int64
             * @description Tokens made.
             */
            completion_tokens: number;
            completion_tokens_details?: components["schemas"]["CompletionTokensDetails"] | null;
            /**
             * Format: int64
             * @description Tokens of the prompt.
             */
            prompt_tokens: number;
            prompt_tokens_details?: components["schemas"]["PromptTokensDetails"] | null;
            /**
             * Format: int64
             * @description Both together.
             */
            total_tokens: number;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    chat: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["ChatRequest"];
            };
        };
        responses: {
            /** @description The answer: JSON, or server-sent events when `stream` is true */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ChatCompletion"];
                    "text/event-stream": components["schemas"]["ChatChunk"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Payload Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Too Many Requests */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Internal Server Error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    listInstalledModels: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["InstalledModels"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Internal Server Error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    getSession: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Session"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Internal Server Error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    signIn: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["SignIn"];
            };
        };
        responses: {
            /** @description Done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Session"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Payload Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Too Many Requests */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Internal Server Error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    signOut: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Internal Server Error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    getSetUp: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SetUpState"];
                };
            };
            /** @description Internal Server Error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    setUp: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["SetUp"];
            };
        };
        responses: {
            /** @description Done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SetUpDone"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Payload Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Internal Server Error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    getStatus: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Status"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Internal Server Error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    getCa: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/x-pem-file": string;
                };
            };
        };
    };
    isAlive: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/plain": string;
                };
            };
        };
    };
    getOpenApi: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": string;
                };
            };
        };
    };
    isReady: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/plain": string;
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    createChatCompletion: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["ChatRequest"];
            };
        };
        responses: {
            /** @description The answer: JSON, or server-sent events when `stream` is true */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ChatCompletion"];
                    "text/event-stream": components["schemas"]["ChatChunk"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
            /** @description Payload Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
            /** @description Too Many Requests */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
            /** @description Internal Server Error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    listModels: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelList"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
            /** @description Internal Server Error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    getModel: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Done */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Model"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
            /** @description Internal Server Error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
}
