#compdef @PROGRAM@
# zsh completion for @PROGRAM@. @MARK@
_@PROGRAM@() {
    local -a candidates
    local line directive=0
    while IFS= read -r line; do
        case $line in
            :*) directive=${line#:} ;;
            *$'\t'*) candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
            ?*) candidates+=("${line//:/\\:}") ;;
        esac
    done < <(@PROGRAM@ __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    if [[ $directive == 0 ]]; then
        _files
    elif (( $#candidates )); then
        _describe '@PROGRAM@' candidates
    fi
}
if [[ ${funcstack[1]} == _@PROGRAM@ ]]; then
    _@PROGRAM@ "$@"
else
    compdef _@PROGRAM@ @PROGRAM@
fi
