#!/bin/bash
# octet chat through a pipe: one message per line.
. tests/cli/lib.sh
make_model
model=$TMP/m.gguf
chat() {
    run_stdin "$TMP/in" "$OCTET" chat -m "$model" --chat-format chatml -n 6 --temp 0 \
    --ignore-eos "$@"
}

printf 'Hello\n\nAnd you?\n' >"$TMP/in"
chat
expect_exit chat_works 0
grep -qF '> ' "$TMP/out" && fail no_prompt_is_echoed \
    "$(head -c 99 "$TMP/out")" || ok no_prompt_is_echoed
printf 'Hello\n/stats\n' >"$TMP/in"; chat; expect_stderr stats_tell_messages '2 messages'
printf '/help\n/nope\n/hlep\n' >"$TMP/in"; chat
expect_exit commands_need_no_answer 0
expect_stderr help_lists_commands /retry; expect_stderr unknown_chat_command /nope
expect_stderr unknown_chat_command_suggests 'try /help'; expect_no_stdout commands_answer_on_stderr
printf 'One \\\nmessage\n/stats\n' >"$TMP/in"; chat; expect_stderr backslash_continues '2 messages'
printf 'Hello\n/reset\n/stats\n' >"$TMP/in"; chat; expect_stderr reset_forgets ' 0 messages'
printf '/system Be brief.\nHello\n/save %s/s.json\n' "$TMP" >"$TMP/in"; chat
expect_equal save_writes_messages \
    "$(json "$TMP/s.json" '[m["role"] for m in j]')" "['system', 'user', 'assistant']"
printf '/load %s/s.json\n/stats\n' "$TMP" >"$TMP/in"; chat
expect_stderr load_reads_messages '3 messages'
printf '/load %s/none\n/stats\n' "$TMP" >"$TMP/in"; chat; expect_stderr load_failure_is_told none
echo '[{"role": "wizard", "content": "x"}]' >"$TMP/bad.json"
printf '/load %s/bad.json\n/stats\n' "$TMP" >"$TMP/in"; chat
expect_stderr load_refuses_roles 'expected a role'
expect_stderr failed_load_changes_nothing ' 0 messages'
printf 'Hello\n/retry\n/stats\n' >"$TMP/in"; chat; expect_stderr retry_replaces '2 messages'
printf '/retry\n' >"$TMP/in"; chat; expect_stderr retry_needs_a_question 'nothing to answer'
printf 'Hello\n/exit\nNever\n' >"$TMP/in"; chat; expect_equal exit_leaves "$status" 0
for i in 1 2 3 4 5 6 7 8; do echo "This is message number $i of the conversation."; done >"$TMP/in"
chat -c 160; expect_exit full_context_goes_on 0; expect_stderr full_context_is_told forgotten
printf 'word %.0s' $(seq 300) >"$TMP/in"; chat -c 64; expect_exit long_message_is_refused 1
expect_stderr long_message_is_told 'too many for a context'
: >"$TMP/in"; chat; expect_exit no_input 0
printf 'No newline' >"$TMP/in"; chat; expect_exit last_line_without_newline 0
cat "$TMP/out" | wc -c | grep -qx 0 && fail last_line_is_answered empty || ok last_line_is_answered
finish
