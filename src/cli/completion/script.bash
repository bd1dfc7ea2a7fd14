# bash completion for @PROGRAM@. @MARK@
_@FUNCTION@_complete() {
    local cur=${COMP_WORDS[COMP_CWORD]} cword=$COMP_CWORD line directive=0
    local -a words=("${COMP_WORDS[@]}")
    # bash splits words at `=` and `:`; where bash-completion is loaded it puts them together again.
    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref -n =: cur words cword
    fi
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :*) directive=${line#:} ;;
            *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <(@PROGRAM@ __complete "${words[@]:1:cword}" 2>/dev/null)
    if [[ $directive == 0 ]]; then
        compopt -o default 2>/dev/null
    elif [[ $cur == --*=* && $COMP_WORDBREAKS == *=* ]]; then
        # bash replaces only what stands behind the `=`.
        COMPREPLY=("${COMPREPLY[@]#"${cur%%=*}="}")
    fi
}
complete -F _@FUNCTION@_complete @PROGRAM@
